"""Measure this machine, this suite and its peers on the same work, in one run.

    python -m repro.bench                              all that need no files: half an hour
    python -m repro.bench photos=FOLDER shapes=FOLDER  all contests
    python -m repro.bench only=training,sweep rounds=7
    python -m repro.bench images=4000 out=FOLDER

Contests:
  training   the whole loop against the bare step, a torchvision loop, the blog's program and
             matrix products of as many operations; on a GPU also bf16, compiled, CUDA graphs
  jpeg       photographs (of photos=) to training crops, against torchvision's reference transforms
  dense      dense evaluation of many shapes (of the images in shapes=, or made up), against one
             image at a time, one big batch of a single shape, and multi-crop
  sweep      A to E in one process and in two, against the sum of bare steps
  startup    until help, a configuration, a report or a first step is there

The contestants of each take turns; it prints and writes medians over the rounds with their range,
and the ratio of the first contestant to each other one: rates.csv (every round), summary.csv,
summary.md and a figure, in reports/bench-latest unless out= says where. What that folder has of
other contests, taken on the same machine, stays. Rates hold for that machine; ratios carry
further.
Exit status: 0 written; 2 the request was wrong; 75 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro.config.way_in import way_in
from repro.config.words import read as options_of
from repro.config.words import show, whole
from repro.errors import RequestError
from repro.store.files import unwritable_file

if TYPE_CHECKING:
    import torch

    from repro.benchmark.measure import Contest

LONGEST = 200
"""Characters of a folder's name that are said of one that cannot be."""
CONTESTS = ("training", "jpeg", "dense", "sweep", "startup")
DEFAULTS = {
    "only": "",
    "photos": "",
    "shapes": "",
    "rounds": "5",
    "images": "2048",
    "threads": "2",
    "device": "auto",
    "out": "reports/bench-latest",
}


def main() -> None:
    """The program."""
    sys.exit(way_in(__doc__, _bench, "interrupted; contests that had ended are written"))


def _bench(arguments: list[str]) -> int:
    show(bench(read(arguments)))
    return 0


def read(arguments: list[str]) -> dict[str, str]:
    """The options of a command line of KEY=VALUE words.

    Raises:
        RequestError: a word that is none, an unknown key, or a value that cannot be.
    """
    options = options_of(arguments, DEFAULTS)
    for key, most in (("rounds", 1000), ("images", 1_000_000), ("threads", 1024)):
        whole(key, options[key], most)
    for key in ("photos", "shapes"):
        _check_images(key, options[key])
    if reason := unwritable_file(Path(options["out"]) / "rates.csv"):
        out = options["out"][:LONGEST]
        raise RequestError(f"out={out} cannot be written to: {reason}; name another folder")
    for name in _wanted(options):
        if name not in CONTESTS:
            raise RequestError(
                f"only={name[:LONGEST]} is not known: choose from {','.join(CONTESTS)}"
            )
    if "jpeg" in options["only"] and not options["photos"]:
        raise RequestError("only=jpeg needs photographs: photos=FOLDER says where they are")
    return options


def _check_images(key: str, folder: str) -> None:
    try:
        there = not folder or Path(folder).is_dir()
        if folder and there:
            next(Path(folder).iterdir(), None)
    except OSError as error:
        raise RequestError(
            f"{key}={folder[:LONGEST]} cannot be read: {error.strerror}; name a folder of images"
        ) from None
    if not there:
        raise RequestError(f"{key}={folder} is not there: expected a folder of images")


def bench(options: dict[str, str]) -> str:
    """Run the contests that are wanted and write the results; what to print.

    Raises:
        RequestError: the device is not here.
        RunError: the results could not be written, or a contestant failed.
    """
    from repro.benchmark import measure, page, training
    from repro.run.device import pick, torch_settings
    from repro.run.environment import device_name

    chosen, out = pick(options["device"]), Path(options["out"])
    machine = page.machine(device_name(chosen), options["threads"])
    # Before any long work.
    page.kept(out, machine)
    settings = training.config("D", "eighth", "mnist5k")
    settings.threads = int(options["threads"])
    written = "nothing was measured"
    with torch_settings(settings):
        for contest in _contests(options, chosen):
            rounds = measure.run(contest, int(options["rounds"]), progress=True)
            # After each, so that what breaks a later one takes nothing with it.
            written = page.write(rounds, out, machine)
    return written


def _wanted(options: dict[str, str]) -> Sequence[str]:
    return options["only"].split(",") if options["only"] else CONTESTS


def _contests(options: dict[str, str], device: torch.device) -> Iterator[Contest]:
    from repro.benchmark import dense, jpeg, startup, sweep, training

    count, wanted = int(options["images"]), _wanted(options)
    photos, shapes = (Path(options[key]) if options[key] else None for key in ("photos", "shapes"))
    for folder in filter(None, (photos, shapes)):
        # Before any long work.
        jpeg.photographs(folder, 1)
    if "training" in wanted:
        for size in ("eighth", "quarter"):
            # A net of twice the width takes several times as long for each image.
            few = count // 4 if size == "quarter" else count
            for data in ("mnist5k", "cifar10"):
                yield training.contest("D", size, data, few, device)
        if device.type == "cuda":
            yield training.contest("D", "eighth", "mnist5k", count, device, "bf16")
            yield training.contest("D", "paper", "cifar10", count, device, "bf16")
    if photos and "jpeg" in wanted:
        yield from jpeg.contests(photos, count)
    if "dense" in wanted:
        yield from dense.contests(shapes, min(count, 400), device)
    if "sweep" in wanted:
        yield sweep.contest(device)
    if "startup" in wanted:
        yield startup.contest()


if __name__ == "__main__":
    main()
