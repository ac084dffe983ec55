"""SIGTERM and SIGINT ask a run to save what it has and leave with status 75."""

from __future__ import annotations

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


class Stop:
    """Whether someone has asked to stop."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    @property
    def asked(self) -> bool:
        """True after the first signal."""
        return self._asked.is_set()

    def check(self) -> None:
        """Raise `Interrupted` where nothing needs saving first."""
        if self.asked:
            raise Interrupted

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as a request to stop; a second one interrupts at once."""
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
        if self.asked:
            raise Interrupted
        self._asked.set()
