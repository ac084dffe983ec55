"""Say what a sweep would cost before anyone spends a week on it; nothing is trained.

    python -m repro.plan experiments=paper data=imagenet size=paper
    python -m repro.plan arch=A,B,C,D,E seed=0,1,2
    python -m repro.plan arch=D,E scale=jitter size=paper data=imagenet recipe=paper tflops=6
    python -m repro.plan data=imagefolder images=9000,500,500 classes=20 out=plan.csv

It takes the words of `python -m repro.run`, always as a sweep, and prints for each run, parents
first, its parameters, its floating point operations, the memory that training holds and the hours
that training and testing take. No data folder is looked at, and none needs to be there.

    tflops=N      floating point operations a second to reckon with, in 10^12, all devices together;
                  without it this machine's, timed now
    tflops=N,M    N for training and M for testing, which computes in float32 where training is bf16
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
from typing import TYPE_CHECKING

from repro.config.schema import MANY
from repro.config.way_in import way_in
from repro.config.words import show, whole
from repro.errors import RequestError, RunError
from repro.store.files import unwritable_file, write_whole

if TYPE_CHECKING:
    from repro.config.schema import Config
    from repro.data.sizes import Assumed
    from repro.run.request import Request

LONGEST = 200
"""Characters of a value that are said of one that cannot be."""
MOST_CLASSES = 1_000_000
OWN = ("tflops", "images", "classes", "out")


@dataclass(frozen=True)
class Options:
    """The words that are this command's own."""

    tflops: tuple[float, ...] = ()
    """Of training, or of training and of testing; empty: to be timed."""
    images: tuple[int, ...] | None = None
    """Of training, validation and test."""
    classes: int | None = None
    out: Path | None = None


def main() -> None:
    """Run the program."""
    sys.exit(way_in(__doc__, plan, "interrupted"))


def plan(arguments: list[str]) -> int:
    """Print the plan of a command line; the exit status.

    Raises:
        RequestError: the request was wrong.
        RunError: not even one image fits into memory.
    """
    own, rest = read(arguments)
    from repro.config.command import compose
    from repro.config.composing import shown
    from repro.config.options import read as read_options
    from repro.run.forecast import Rate, forecast, page
    from repro.run.request import base_data, members

    given = read_options(rest)
    if given.cfg is not None:
        show(shown(given))
        return 0
    assumed = _Assumed(own)
    requests = members(compose(replace(given, multirun=True), assumed.check))
    rate = None
    if own.tflops:
        rate = Rate(own.tflops[0] * 1e12, own.tflops[-1] * 1e12, "as tflops= says")
    rows = forecast(
        requests, lambda one: assumed.of(one.config).images(base_data(one.config.data)), rate
    )
    said = page(rows)
    if own.out is not None:
        try:
            write_whole(own.out, rows.to_csv(index=False).encode())
        except RunError as error:
            raise RequestError(f"out={own.out}: {error}") from None
        said += f"\nwritten to {own.out}"
    show(said)
    return 0


class _Assumed:
    """Checks configurations by what the user says and what a store holds, without the data."""

    def __init__(self, own: Options) -> None:
        self.own = own
        self._known: dict[str, Request] = {}
        self._stores: dict[str, Assumed] = {}

    def of(self, config: Config) -> Assumed:
        from repro.data.sizes import Assumed
        from repro.data.split import Counts
        from repro.store.runs import started

        if config.runs not in self._stores:
            images = Counts(*self.own.images) if self.own.images else None
            earlier = started(Path(config.runs))
            self._stores[config.runs] = Assumed(images, self.own.classes, earlier)
        return self._stores[config.runs]

    def check(self, config: Config) -> Request:
        from repro.run.device import pick
        from repro.run.request import resolve

        if config.weights is not None:
            raise RequestError(
                f"weights={config.weights}: a published net is not trained, and plan reckons "
                "training: leave it out"
            )
        request = resolve(config, self.of(config).describe, self._known)
        for member in request.lineage():
            member.check_folder()
        if not self.own.tflops:
            pick(config.device)
        elif len(self.own.tflops) == 1 and config.precision == "bf16":
            raise RequestError(
                "tflops: precision=bf16 trains in bf16 and tests in float32: "
                "give both, as in tflops=300,40"
            )
        return request


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
    if "out" in own:
        _check_out(own["out"])
    options = Options(
        _tflops(own["tflops"]) if "tflops" in own else (),
        _images(own["images"]) if "images" in own else None,
        whole("classes", own["classes"], MOST_CLASSES, least=2) if "classes" in own else None,
        Path(own["out"]) if "out" in own else None,
    )
    return options, rest


def _check_out(out: str) -> None:
    reason = unwritable_file(Path(out)) if out.endswith(".csv") else "it is no .csv"
    if reason:
        raise RequestError(
            f"out={out[:LONGEST]} cannot be written: {reason}; expected a file, as in out=plan.csv"
        )


def _tflops(value: str) -> tuple[float, ...]:
    try:
        numbers = tuple(map(float, value.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2) or not all(0 < number < math.inf for number in numbers):
        raise RequestError(
            f"tflops={value[:LONGEST]}: expected a number above zero, or one for training and one "
            "for testing, as in tflops=6 or tflops=300,40"
        )
    return numbers


def _images(value: str) -> tuple[int, ...]:
    try:
        train, validation, test = (whole("images", part.strip(), MANY) for part in value.split(","))
    except (RequestError, ValueError):
        raise RequestError(
            f"images={value[:LONGEST]}: expected TRAINING,VALIDATION,TEST, as in "
            "images=9000,500,500"
        ) from None
    return train, validation, test


if __name__ == "__main__":
    main()
