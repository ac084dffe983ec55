"""The signals that ask a run to save what it has and to stop."""

from __future__ import annotations

import signal

URGENT = (signal.SIGINT, signal.SIGTERM)
AHEAD = tuple(
    signal.Signals[name]
    for name in ("SIGUSR1", "SIGUSR2")
    # Windows has neither.
    if name in signal.Signals.__members__
)
"""What batch systems are told to send ahead of a job's end."""
