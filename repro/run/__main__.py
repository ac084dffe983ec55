"""Train and test: one configuration becomes one finished run, a sweep becomes several.

    python -m repro.run arch=D                       one net on the embedded digits
    python -m repro.run -m arch=A,B,C,D,E            the depth comparison
    python -m repro.run -m arch=D,E scale=jitter     with the runs that these start from
    python -m repro.run --help                       all choices

A run that is finished is never trained again, one that was interrupted goes on where it was.
Exit status: 0 all finished; 1 a run failed, the others are finished; 2 the request was wrong;
75 interrupted, what was done is saved and the same command goes on.
"""

import sys

from repro.config.way_in import answered
from repro.run.interruption import STATUS


def main() -> None:
    """The program."""
    arguments = answered(_page)
    try:
        from repro.config.command import command
    except KeyboardInterrupt:
        # Nothing has begun.
        sys.exit(STATUS)
    sys.exit(command(arguments))


def _page() -> str:
    from repro.config.choices import help_text
    from repro.protocol.protocols import described

    return help_text(str(__doc__), described())


if __name__ == "__main__":
    main()
