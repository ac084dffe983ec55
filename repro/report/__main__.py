"""Write the comparison report: finished runs become tables, figures and one page.

    python -m repro.report                          runs/ -> reports/latest/
    python -m repro.report runs=runs out=reports/mine
    python -m repro.report fuse=D-S256+E-S256,B-S256+D-S256+E-S256
    python -m repro.report archive=true out=reports/mine     keep in it what it is made from
    python -m repro.report runs=reports/mine                 make it again from that, anywhere
    python -m repro.report runs=reports/mine,runs            several stores in one report

It writes comparison.html (one file, pictures inside), comparison.md, results.csv, claims.csv,
tables/*.csv and figures/*.png; with `latex=true` tables/*.tex too. It needs no net: everything
follows from stored posteriors. `fuse` adds ensembles, of nets as the report names them, to those
of the paper.
`archive=true` puts into the report runs.zip, what it follows from, small enough to be published:
settings, logs, and the rank of the true class for each test image, net (or ensemble) and protocol.
Exit status: 0 written; 2 the request was wrong; 75 interrupted.
"""

import gc
import sys
from pathlib import Path

from repro.config.way_in import read, show, truth, way_in
from repro.errors import RequestError

SWITCHES = {"archive": "false", "latex": "false"}
DEFAULTS = {"runs": "runs", "out": "reports/latest", "fuse": "", **SWITCHES}


def main() -> None:
    """The program."""
    sys.exit(way_in(__doc__, _report, "interrupted; the same command writes the report"))


def _report(arguments: list[str]) -> int:
    options = read(arguments, DEFAULTS)
    switches = {key: truth(key, options[key]) for key in SWITCHES}
    for key in ("runs", "out"):
        if not options[key].isprintable() or "`" in options[key]:
            raise RequestError(f"{key}={options[key]!a:.300}: expected a name that can be printed")
    # Millions of objects and few cycles: to look for these takes a twentieth of the time.
    gc.disable()
    from repro.report.write import write

    stores = [Path(folder) for folder in options["runs"].split(",")]
    fuse = [members for members in options["fuse"].split(",") if members]
    show(write(stores, Path(options["out"]), fuse, **switches))
    return 0


if __name__ == "__main__":
    main()
