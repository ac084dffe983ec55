"""Say what a sweep would cost before anyone spends a week on it; nothing is trained.

    python -m repro.plan experiments=paper data=imagenet size=paper
    python -m repro.plan arch=A,B,C,D,E seed=0,1,2
    python -m repro.plan arch=D,E scale=jitter size=paper data=imagenet recipe=paper tflops=6
    python -m repro.plan data=imagefolder images=9000,500,500 classes=20 out=plan.csv

It takes the words of `python -m repro.run`, always as a sweep, and prints for each run, parents
first, its parameters, its floating point operations, the memory that training holds and the hours
that training and testing take. No data folder is looked at, and none needs to be there; a file of
weights is read where it is there, and not fetched.

    tflops=N      floating point operations a second to reckon with, in 10^12, all devices together;
                  without it this machine's, timed now
    tflops=N,M    N for training and M for testing, which computes in tf32 where training is bf16
    images=A,B,C  numbers of training, validation and test images, where they are not known
    classes=N     number of classes, where it is not known
    out=FILE.csv  write the table there too, with all digits

Operations are counted by the paper's own net (two a multiply-add). D trained on ImageNet for 74
epochs is 8.8e18 of them, so that the paper's two to three weeks are tflops=7.3 to tflops=4.9.
Exit status: 0 planned; 2 the request was wrong; 75 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from repro.config.schema import MANY
from repro.config.way_in import show, way_in, whole
from repro.errors import RequestError, RunError
from repro.store.files import unwritable, write_whole
from repro.store.runs import check_outside

if TYPE_CHECKING:
    from repro.config.command import Check
    from repro.config.schema import Config
    from repro.data.assumed import Assumed
    from repro.run.request import Request

OWN = ("tflops", "images", "classes", "out")


def main() -> None:
    """Run the program."""
    sys.exit(way_in(__doc__, plan, "interrupted"))


def plan(arguments: list[str]) -> int:
    """Print the plan of a command line; the exit status."""
    given = {key: value.strip() for key, _, value in (word.partition("=") for word in arguments)}
    own = {key: given[key] for key in OWN if key in given}
    flops = [1e12 * n for n in _numbers(own, "tflops", float, (1, 2), "6 or tflops=300,40")]
    images = _numbers(own, "images", int, (3,), "9000,500,500 (TRAINING,VALIDATION,TEST)")
    classes = whole("classes", own["classes"], 10**6, least=2) if "classes" in own else None
    out = own.get("out")
    if out is not None:
        fits = out.endswith(".csv") and not os.path.isdir(out)
        reason = unwritable(Path(out).parent) if fits else "it is no .csv file"
        if reason:
            raise RequestError(f"out={out[:200]} cannot be written, as out=plan.csv can: {reason}")
        check_outside(Path(out))
    from repro.config.command import requests_of
    from repro.data.assumed import Assumed
    from repro.data.split import Counts
    from repro.run.forecast import Rate, forecast, page
    from repro.run.request import members
    from repro.store.identity import unlabelled
    from repro.store.runs import started

    stores: dict[str, Assumed] = {}

    def known(config: Config) -> Assumed:
        if config.runs not in stores:
            counts = Counts(*map(int, images)) if images else None
            stores[config.runs] = Assumed(counts, classes, started(Path(config.runs)))
        return stores[config.runs]

    words = [word for word in arguments if word.partition("=")[0] not in own]
    requests = members(requests_of(words, _check(known, len(flops))))
    rate = Rate(flops[0], flops[-1], "as tflops= says") if flops else None
    rows = forecast(requests, lambda one: known(one).images(unlabelled(one.data)), rate)
    show(page(rows))
    if out is not None:
        try:
            write_whole(Path(out), rows.to_csv(index=False).encode())
        except RunError as error:
            raise RequestError(f"out={out}: {error}") from None
        show(f"written to {out}")
    return 0


def _check(known: Callable[[Config], Assumed], rates: int) -> Check:
    """A check that a configuration can be done as written, and here if it is timed."""
    from repro.protocol.protocols import transfers
    from repro.run.device import pick
    from repro.run.resolving import resolve

    resolved: dict[str, Request] = {}

    def check(config: Config, words: tuple[str, ...]) -> Request:
        # Nothing is fetched.
        config.dry_run = True
        if config.weights is not None and not transfers(config.test):
            raise RequestError(f"weights={config.weights}: such a net is not trained: leave it out")
        request = resolve(config, known(config).describe, resolved, command=words)
        for member in request.lineage():
            member.check_folder()
        if rates == 0:
            pick(config.device)
        elif rates == 1 and config.views_in != config.precision:
            said = f"tflops: precision={config.precision} tests in {config.views_in}"
            raise RequestError(f"{said}: give both, as in tflops=300,40")
        return request

    return check


def _numbers(
    own: dict[str, str], key: str, kind: type[int | float], counts: tuple[int, ...], example: str
) -> tuple[float, ...]:
    """The numbers of a word KEY=N,N; none where it was not given."""
    if key not in own:
        return ()
    try:
        found = tuple(map(kind, own[key].split(",")))
    except ValueError:
        found = ()
    if len(found) not in counts or not all(0 < number <= MANY for number in found):
        raise RequestError(f"{key}={own[key][:200]}: expected numbers, as {key}={example}")
    return found


if __name__ == "__main__":
    main()
