"""Does a run's net give what its views say? A sample of each stored view, computed anew.

    python -m repro.verify run=runs/D-S256-...
    python -m repro.verify run=reports/theirs/D-S256-... data.root=/data/imagenet images=500

    images=N      random test images, the same for all views: 200
    seed=N        which ones: 0
    data.root=F   the folder that holds the run's data on this machine
    device=D      auto, cpu, cuda

The run may come from another machine. Rounding is 1e-4 of a posterior at most (1e-2 where the view
is in tf32; 1e-4 more above 100 classes, whose views are kept in 16 bits). What changes no
posterior of the sample by more than that is not noticed.
Exit status: 0 as stored; 1 not, or the weights or an image are damaged; 2 the request was wrong;
75 interrupted.
"""

import sys
from pathlib import Path

from repro.config.way_in import read, required, show, way_in, whole
from repro.errors import RunError

DEFAULTS = {"run": "", "images": "200", "seed": "0", "data.root": "", "device": "auto"}


def main() -> None:
    """The program."""
    sys.exit(way_in(__doc__, _verify))


def _verify(arguments: list[str]) -> int:
    options = read(arguments, DEFAULTS)
    required(options, run="runs/NAME")
    images = whole("images", options["images"])
    seed = whole("seed", options["seed"], least=0)
    from repro.release.check import verify
    from repro.run.device import pick

    folder, device = Path(options["run"]), pick(options["device"])
    try:
        number, rows = verify(folder, images, seed, options["data.root"] or None, device)
    except RunError as error:
        print(error, file=sys.stderr)
        return 1
    width = max(len(row.view) for row in rows)
    show(f"{'view':<{width}}  images  max |difference|  other top-1  within")
    for row in rows:
        said = f"{number:>6}  {row.difference:>16.1e}  {row.other_top1:>11}"
        fault = f" ({row.fault})" * bool(row.fault)
        show(f"{row.view:<{width}}  {said}  {'yes' if row.within else 'NO'}{fault}")
    if off := [row.view for row in rows if not row.within]:
        show(
            f"{len(off)} of {len(rows)} views are not what the weights give: {', '.join(off)}; "
            "remove them and give the run's command again, or doubt the weights"
        )
        return 1
    show(f"all {len(rows)} views are what the weights give, within {rows[0].tolerance:g}")
    return 0


if __name__ == "__main__":
    main()
