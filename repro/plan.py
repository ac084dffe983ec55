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
from dataclasses import replace
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
OWN = ("tflops", "images", "classes", "out")


def main() -> None:
    """Run the program."""
    sys.exit(way_in(__doc__, plan, "interrupted"))


def plan(arguments: list[str]) -> int:
    """Print the plan of a command line; the exit status.

    Raises:
        RequestError: the request was wrong.
        RunError: not even one image fits into memory.
    """
    own = {key: value.strip() for key, _, value in (word.partition("=") for word in arguments)}
    own = {key: own[key] for key in OWN if key in own}
    known = Known(own)
    if "out" in own:
        check_out(own["out"])
    from repro.config.command import compose
    from repro.config.composing import shown
    from repro.config.options import read
    from repro.run.forecast import Rate, forecast, page
    from repro.run.request import base_data, members

    given = read([word for word in arguments if word.partition("=")[0] not in own])
    if given.cfg is not None:
        show(shown(given))
        return 0
    requests = members(compose(replace(given, multirun=True), known.check))
    flops = [1e12 * number for number in known.tflops]
    rate = Rate(flops[0], flops[-1], "as tflops= says") if flops else None
    rows = forecast(requests, lambda one: known.of(one).images(base_data(one.data)), rate)
    said = page(rows)
    if "out" in own:
        try:
            write_whole(Path(own["out"]), rows.to_csv(index=False).encode())
        except RunError as error:
            raise RequestError(f"out={own['out']}: {error}") from None
        said += f"\nwritten to {own['out']}"
    show(said)
    return 0


class Known:
    """What is known of data and devices without a look at them: by the user, or by a store."""

    def __init__(self, own: dict[str, str]) -> None:
        """
        Args:
            own: this command's own words.

        Raises:
            RequestError: one of them cannot be read.
        """
        self.tflops = tflops(own["tflops"]) if "tflops" in own else ()
        self.images = images(own["images"]) if "images" in own else None
        self.classes = (
            whole("classes", own["classes"], 10**6, least=2) if "classes" in own else None
        )
        self._known: dict[str, Request] = {}
        self._stores: dict[str, Assumed] = {}

    def of(self, config: Config) -> Assumed:
        """What is taken for the data of a configuration."""
        from repro.data.sizes import Assumed
        from repro.data.split import Counts
        from repro.store.runs import started

        if config.runs not in self._stores:
            counts = Counts(*self.images) if self.images else None
            earlier = started(Path(config.runs))
            self._stores[config.runs] = Assumed(counts, self.classes, earlier)
        return self._stores[config.runs]

    def check(self, config: Config) -> Request:
        """A configuration as a request.

        Raises:
            RequestError: it cannot be done as written, or not here, where it is to be timed.
        """
        from repro.run.device import pick
        from repro.run.request import resolve

        if config.weights is not None:
            raise RequestError(f"weights={config.weights}: such a net is not trained: leave it out")
        request = resolve(config, self.of(config).describe, self._known)
        for member in request.lineage():
            member.check_folder()
        if not self.tflops:
            pick(config.device)
        elif len(self.tflops) == 1 and config.precision == "bf16":
            raise RequestError(
                "tflops: precision=bf16 trains in bf16 and tests in float32: "
                "give both, as in tflops=300,40"
            )
        return request


def check_out(out: str) -> None:
    """Refuse a file that cannot be written.

    Raises:
        RequestError: with the reason.
    """
    reason = unwritable_file(Path(out)) if out.endswith(".csv") else "it is no .csv"
    if reason:
        raise RequestError(
            f"out={out[:LONGEST]} cannot be written: {reason}; expected a file, as in out=plan.csv"
        )


def tflops(value: str) -> tuple[float, ...]:
    """Operations a second of training, or of training and of testing, in 10^12.

    Raises:
        RequestError: it is neither.
    """
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


def images(value: str) -> tuple[int, int, int]:
    """Numbers of training, validation and test images.

    Raises:
        RequestError: these are not three whole numbers.
    """
    try:
        train, validation, test = (whole("images", part.strip(), MANY) for part in value.split(","))
    except (RequestError, ValueError):
        raise RequestError(
            f"images={value[:LONGEST]}: expected TRAINING,VALIDATION,TEST, as in images=9000,50,50"
        ) from None
    return train, validation, test


if __name__ == "__main__":
    main()
