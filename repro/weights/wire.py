"""Protobuf's wire format, read as far as weight files need it.

Protobuf's own parser makes an object of every message, and a message can be two bytes: a file of a
few megabytes then takes gigabytes. Here the numbers stay where the file has them, only what is
asked for is read, and all fields are counted.
"""

from __future__ import annotations

import struct

MOST = 100_000
"""Fields of a file. The deepest of these nets has a few thousand."""
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""How a field is written; the groups of protobuf's first years are not read."""
LARGEST = 2**64
Value = int | memoryview


class Budget:
    """What is left of the fields that a file may have."""

    def __init__(self, left: int = MOST) -> None:
        self.left = left

    def take(self) -> None:
        """Count a field.

        Raises:
            ValueError: there are too many.
        """
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"more than {MOST:,} fields, and these nets have a few thousand")


class Message:
    """One message: its fields by number. Messages within it are read when they are asked for."""

    def __init__(self, content: memoryview, budget: Budget) -> None:
        """Find the fields of a message.

        Raises:
            ValueError: it is no message, or the file has too many fields.
        """
        self.budget = budget
        self.fields: dict[int, list[tuple[int, Value]]] = {}
        place = 0
        while place < len(content):
            budget.take()
            tag, place = _varint(content, place)
            value, place = _value(content, place, tag % 8)
            self.fields.setdefault(tag // 8, []).append((tag % 8, value))

    def has(self, number: int) -> bool:
        """Whether the field is there."""
        return number in self.fields

    def parts(self, number: int) -> list[memoryview]:
        """The bytes of a field that may stand several times: texts, data, messages.

        Raises:
            ValueError: it is written as a number.
        """
        found = self.fields.get(number, ())
        if any(kind != LENGTH for kind, _ in found):
            raise ValueError(f"field {number} is no text, data or message")
        return [value for _, value in found if not isinstance(value, int)]

    def messages(self, number: int) -> list[Message]:
        """The messages of a field, in order."""
        return [Message(part, self.budget) for part in self.parts(number)]

    def message(self, number: int) -> Message:
        """The one message of a field; an empty one where there is none.

        Raises:
            ValueError: there are several.
        """
        found = self.messages(number)
        if len(found) > 1:
            raise ValueError(f"field {number} stands there {len(found)} times")
        return found[0] if found else Message(memoryview(b""), self.budget)

    def texts(self, number: int) -> list[str]:
        """The texts of a field, in order."""
        return [bytes(part).decode(errors="replace") for part in self.parts(number)]

    def text(self, number: int) -> str:
        """The text of a field, the last where there are several, or nothing."""
        return (self.texts(number) or [""])[-1]

    def integers(self, number: int) -> list[int]:
        """The signed integers of a field, whether they are packed or not."""
        found = []
        for _, value in self.fields.get(number, ()):
            if isinstance(value, int):
                found.append(value)
                continue
            place = 0
            while place < len(value):
                self.budget.take()
                one, place = _varint(value, place)
                found.append(one)
        return [value - LARGEST * (value >= LARGEST // 2) for value in found]

    def integer(self, number: int, otherwise: int = 0) -> int:
        """The integer of a field, the last where there are several."""
        return (self.integers(number) or [otherwise])[-1]

    def float(self, number: int, otherwise: float) -> float:
        """The float of a field, the last where there are several.

        Raises:
            ValueError: it is written as something else.
        """
        for kind, value in reversed(self.fields.get(number, [])):
            if kind != FIXED32 or isinstance(value, int):
                raise ValueError(f"field {number} is no float")
            return float(struct.unpack("<f", value)[0])
        return otherwise

    def data(self, number: int) -> memoryview:
        """The bytes of a field's packed numbers; copied only where they stand in several parts."""
        parts = self.parts(number)
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    """An integer of up to 64 bits, seven a byte, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            break
        byte = content[place]
        place += 1
        value += (byte & 127) << shift
        if byte < 128:
            return value % LARGEST, place
    raise ValueError("it ends within a number, or a number has more than 64 bits")


def _value(content: memoryview, place: int, kind: int) -> tuple[Value, int]:
    """What stands after a tag, and the place after it."""
    if kind == VARINT:
        return _varint(content, place)
    if kind == LENGTH:
        size, place = _varint(content, place)
    elif kind in (FIXED32, FIXED64):
        size = 4 if kind == FIXED32 else 8
    else:
        raise ValueError(f"a field is written in way {kind}, which is not read")
    if size > len(content) - place:
        raise ValueError(f"it ends before a field of {size:,} bytes does")
    return content[place : place + size], place + size
