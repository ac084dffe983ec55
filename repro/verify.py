"""Does a run's net give what its views say? A sample of each stored view, computed anew.

    python -m repro.verify run=runs/D-S256-...
    python -m repro.verify run=reports/theirs/D-S256-... data.root=/data/imagenet images=500

The run may come from another machine. For each stored view it says how far the posteriors are from
what is stored, how many images have another best class, and whether that is rounding: 1e-4 at most
(1e-2 where the run had precision=tf32; 1e-4 more above 100 classes, whose views are kept in 16
bits).

    images=N      random test images, the same for all views: 200
    seed=N        which ones: 0
    data.root=F   the folder that holds the run's data on this machine
    device=D      auto, cpu, cuda

What changes no posterior of the sample by more than that is not noticed.
Exit status: 0 as stored; 1 not, or the weights or an image are damaged; 2 the request was wrong;
75 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path

from repro.config.way_in import read, show, way_in, whole
from repro.errors import RunError
from repro.release.command import MOST, required

DEFAULTS = {"run": "", "images": "200", "seed": "0", "data.root": "", "device": "auto"}


def main() -> None:
    """The program."""
    sys.exit(way_in(__doc__, _verify))


def _verify(arguments: list[str]) -> int:
    options = read(arguments, DEFAULTS)
    required(options, {"run": "runs/NAME"})
    images = whole("images", options["images"], MOST)
    seed = whole("seed", options["seed"], MOST, least=0)
    from repro.release import check
    from repro.run.device import pick

    compared = check.verify(
        Path(options["run"]),
        images=images,
        seed=seed,
        root=options["data.root"] or None,
        device=pick(options["device"]),
        say=lambda line: print(line, file=sys.stderr),
    )
    try:
        rows = list(compared)
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    show(f"{check.table(rows)}\n{check.verdict(rows)}")
    return 0 if all(row.within for row in rows) else 1


if __name__ == "__main__":
    main()
