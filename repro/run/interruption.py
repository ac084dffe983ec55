"""SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 ask a run to save what it has and leave with status 75.

The last two are what batch systems are told to send ahead of a job's end.
"""

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

URGENT = (signal.SIGINT, signal.SIGTERM)
# Windows has neither.
AHEAD = tuple(s for s in signal.Signals if s.name in ("SIGUSR1", "SIGUSR2"))

STATUS = 75
"""EX_TEMPFAIL of sysexits: the same command, given again, goes on."""
ECHO = 2.0
"""Seconds for which a signal that comes again is the same request: a process that was signalled
with its whole group is often sent the signal once more, by who started it and passes it on."""


class Interrupted(SystemExit):
    """The run was asked to stop; it ends the sweep, with status 75."""

    def __init__(self) -> None:
        super().__init__(STATUS)

    def __reduce__(self) -> "tuple[type[Interrupted], tuple[()]]":
        return type(self), ()


@contextmanager
def handling(handler: Any, numbers: Iterable[int]) -> Iterator[dict[int, Any]]:
    """Have `handler` take signals for a while, in the main thread; by number, who took them."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers if main}
    try:
        yield before
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def interruptible() -> Iterator[None]:
    """A signal interrupts at once in here, but where a run takes it itself (`Stop.listening`)."""
    usual = [n for n in (signal.SIGTERM, *AHEAD) if signal.getsignal(n) == signal.SIG_DFL]
    with handling(_interrupt, usual):
        yield


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


class Stop:
    """Whether someone has asked to stop."""

    def __init__(self, parent: int | None = None) -> None:
        """`parent`: the process that waits for the result; when it has died, nobody does."""
        self.signals: set[int] = set()
        """Those that asked."""
        self._since, self._parent = 0.0, parent

    @property
    def asked(self) -> bool:
        """True after the first signal, and when the parent has died."""
        return bool(self.signals) or self.orphaned

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
        """Take signals as a request to stop; SIGINT or SIGTERM again interrupts at once.

        Who took SIGUSR1 or SIGUSR2 before, as submitit, is handed it afterwards.
        """
        try:
            with handling(self._handle, (*URGENT, *AHEAD)) as before:
                yield
        finally:
            for number in self.signals & {*AHEAD}:
                if callable(earlier := before.get(number)):
                    earlier(number, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number not in self.signals:
            self.signals.add(number)
            self._since = time.monotonic()
        elif number in URGENT and time.monotonic() - self._since > ECHO:
            raise Interrupted
