"""SIGTERM and SIGINT ask a run to save what it has and leave with status 75."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STATUS = 75
"""EX_TEMPFAIL of sysexits: the same command, given again, goes on."""


class Interrupted(SystemExit):
    """The run was asked to stop; it ends the sweep, with status 75."""

    def __init__(self) -> None:
        super().__init__(STATUS)

    def __reduce__(self) -> tuple[type[Interrupted], tuple[()]]:
        return type(self), ()


class Stop:
    """Whether someone has asked to stop."""

    def __init__(self, parent: int | None = None) -> None:
        """
        Args:
            parent: the process that waits for the result; when it has died, nobody does.
        """
        self._asked: set[int] = set()
        self._parent = parent

    @property
    def asked(self) -> bool:
        """True after the first signal."""
        return bool(self._asked) or self.orphaned

    @property
    def orphaned(self) -> bool:
        """True when the parent has died."""
        return self._parent is not None and os.getppid() != self._parent

    def check(self) -> None:
        """Raise `Interrupted` where nothing needs saving first."""
        if self.asked:
            raise Interrupted

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as a request to stop; the same again interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number in self._asked:
            raise Interrupted
        self._asked.add(number)
