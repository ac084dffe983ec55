"""Many names in little memory: the files of ImageNet are 1.3 million."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class Names(Sequence[str]):
    """A sequence of strings, kept as one text. It is read like a tuple.

    A Python string or path costs a hundred bytes and more beside its letters. Processes that load
    also copy each one that they look at, since looking changes its count of references.
    """

    def __init__(self, text: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        """
        Args:
            text: all names in UTF-8.
            starts: where each name begins, (N,).
            ends: where each name ends, (N,).
        """
        self.text, self.starts, self.ends = text, starts, ends

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """These names."""
        text, ends = bytearray(), []
        for name in names:
            text += name.encode("utf-8", "surrogateescape")
            ends.append(len(text))
        return cls.one_after_another(bytes(text), np.array(ends, dtype=np.int64))

    @classmethod
    def one_after_another(cls, text: bytes, ends: NDArray[np.int64]) -> Names:
        """The names that a text consists of: each begins where the one before it ends."""
        return cls(text, np.concatenate([np.zeros(1, dtype=np.int64), ends])[:-1], ends)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Names: ...
    def __getitem__(self, index: int | slice) -> str | Names:
        if isinstance(index, slice):
            return Names(self.text, self.starts[index], self.ends[index])
        name = self.text[self.starts[index] : self.ends[index]]
        return name.decode("utf-8", "surrogateescape")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, indices: NDArray[np.int64]) -> Names:
        """The names at `indices`, in their order."""
        return Names(self.text, self.starts[indices], self.ends[indices])
