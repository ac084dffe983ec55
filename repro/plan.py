"""Say what a sweep would cost before anyone spends a week on it; nothing is trained.

    python -m repro.plan experiments=paper data=imagenet size=paper
    python -m repro.plan arch=A,B,C,D,E seed=0,1,2
    python -m repro.plan arch=D,E scale=jitter size=paper data=imagenet recipe=paper tflops=6
    python -m repro.plan data=imagefolder images=9000,500,500 classes=20 out=plan.csv

It takes the words of `python -m repro.run`, always as a sweep, and prints for each run, parents
first, its parameters, its floating point operations, the memory that training holds and the hours
that training and testing take. No data folder is looked at, and none needs to be there.

    tflops=N      floating point operations a second to reckon with, in 10^12, all devices together;
                  without it this machine's: by finished runs of the same net, else timed now
    images=A,B,C  numbers of training, validation and test images, where they are not known
    classes=N     number of classes, where it is not known
    out=FILE.csv  write the table there too, with all digits

Operations are counted by the paper's own net (two a multiply-add). D trained on ImageNet for 74
epochs is 8.8e18 of them, so that the paper's two to three weeks are tflops=7.3 to tflops=4.9.
Exit status: 0 planned; 2 the request was wrong; 75 interrupted.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from repro.config.schema import MANY
from repro.config.way_in import way_in
from repro.config.words import show, whole
from repro.errors import RequestError
from repro.store.files import unwritable_file

LONGEST = 200
"""Characters of a value that are said of one that cannot be."""
MOST_CLASSES = 1_000_000
OWN = ("tflops", "images", "classes", "out")


@dataclass(frozen=True)
class Options:
    """The words that are this command's own."""

    tflops: float | None = None
    images: tuple[int, int, int] | None = None
    """Of training, validation and test."""
    classes: int | None = None
    out: Path | None = None


def main() -> None:
    """The program."""
    sys.exit(way_in(__doc__, plan, "interrupted"))


def plan(arguments: list[str]) -> int:
    """Print the plan of a command line; the exit status.

    Raises:
        RequestError: the request was wrong.
        RunError: not even one image fits into memory.
    """
    options, rest = read(arguments)
    from repro.config.command import compose
    from repro.config.composing import shown
    from repro.config.options import read as read_options
    from repro.forecast.page import page, write
    from repro.forecast.rows import Forecast

    given = read_options(rest)
    if given.cfg is not None:
        show(shown(given))
        return 0
    forecast = Forecast(options.tflops, options.images, options.classes)
    rows = forecast.rows(compose(replace(given, multirun=True), forecast.check))
    said = page(rows)
    if options.out is not None:
        write(rows, options.out)
        said += f"\nwritten to {options.out}"
    show(said)
    return 0


def read(arguments: list[str]) -> tuple[Options, list[str]]:
    """This command's own words, and those that are a run's.

    Raises:
        RequestError: one of its own that cannot be read.
    """
    own: dict[str, str] = {}
    rest = []
    for word in arguments:
        key, equals, value = word.partition("=")
        if equals and key in OWN:
            own[key] = value.strip()
        else:
            rest.append(word)
    out = own.get("out")
    if out is not None:
        _check_out(out)
    options = Options(
        _tflops(own["tflops"]) if "tflops" in own else None,
        _images(own["images"]) if "images" in own else None,
        _classes(own["classes"]) if "classes" in own else None,
        None if out is None else Path(out),
    )
    return options, rest


def _check_out(out: str) -> None:
    if not out.endswith(".csv"):
        raise RequestError(f"out={out[:LONGEST]}: expected a file, as in out=plan.csv")
    if reason := unwritable_file(Path(out)):
        raise RequestError(
            f"out={out[:LONGEST]} cannot be written: {reason}; expected a file, as in out=plan.csv"
        )


def _tflops(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise RequestError(
            f"tflops={value[:LONGEST]}: expected a number above zero, as in tflops=6"
        )
    return number


def _images(value: str) -> tuple[int, int, int]:
    parts = value.split(",")
    try:
        train, validation, test = (whole("images", part.strip(), MANY) for part in parts)
    except (RequestError, ValueError):
        raise RequestError(
            f"images={value[:LONGEST]}: expected TRAINING,VALIDATION,TEST, as in "
            "images=9000,500,500"
        ) from None
    return train, validation, test


def _classes(value: str) -> int:
    try:
        return whole("classes", value, MOST_CLASSES, least=2)
    except RequestError as error:
        raise RequestError(f"{error}; a classifier needs at least two classes") from None


if __name__ == "__main__":
    main()
