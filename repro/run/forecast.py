"""What each run of a sweep would still cost, in operations, memory and hours."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import pandas as pd

from repro.config.schema import Config
from repro.data.split import Counts
from repro.model.cost import cost, training_flops, training_memory, view_flops
from repro.paper.numbers import TRAINING_WEEKS
from repro.run.device import pick
from repro.run.request import Request
from repro.run.timing import LONG, measure
from repro.store.files import read_whole
from repro.store.identity import GROUPS
from repro.store.runs import LARGEST_LOG, LOG

HOUR, WEEK = 3600, 7 * 24
COUNTED = """\
Operations: two a multiply-add; a training step is three forward passes (its own, the gradients of
the activations and of the weights); each epoch ends with the centre crops of the validation
images; images that are tested whole are counted as squares of side Q. Decoding is not counted.
Memory of training, an estimate: weights, gradients and the optimiser's state; of a batch the input
and what each layer keeps for the backward pass. What a library uses beside that is not counted."""


class Rate(NamedTuple):
    """Floating point operations a second, and in words where the numbers come from."""

    training: float
    testing: float
    source: str

    def __str__(self) -> str:
        if self.training == self.testing:
            return f"{self.training / 1e12:.3g} TFLOP/s, {self.source}"
        both = " and ".join(f"{one / 1e12:.3g}" for one in (self.training, self.testing))
        return f"{both} TFLOP/s for training and testing, {self.source}"


def forecast(
    members: Sequence[Request], images: Callable[[Config], Counts], given: Rate | None = None
) -> pd.DataFrame:
    """The cost of what is left of runs, parents first, a row each; a finished one costs nothing.

    `images` counts those of a configuration's data; `given`, None: this machine's rate, timed now
    (a RunError: not one image fits into its memory).
    """
    todo = [request for request in members if not request.finished()]
    # Of nets that take long to be timed, the one that takes longest stands for the others.
    todo.sort(key=lambda request: cost(request.net).flops, reverse=True)
    timed: dict[Any, Rate] = {}
    rates = {request.name: given or _timed(request, timed) for request in todo}
    names = labels(members)
    rows = [_row(one, names, images(one.config), rates.get(one.name)) for one in members]
    return pd.DataFrame(rows)


def _row(
    request: Request, names: dict[str, str], images: Counts, rate: Rate | None
) -> dict[str, Any]:
    config, net = request.config, request.net
    train = min(images.train, config.recipe.train_images or images.train)
    seen = images.validation + (images.test if config.recipe.test_each_epoch else 0)
    epochs, one = epochs_left(request), cost(net)
    views = [] if request.finished() else request.missing_views()
    training = epochs * (train * training_flops(net, config.finetune))
    testing = epochs * seen * one.flops
    tested = images.test * sum(view_flops(net, view) for view in views)
    held = training_memory(
        net, config.recipe, config.precision, config.finetune, config.micro_batch
    )
    return {
        "run": names[request.name],
        "starts_from": ", ".join(names[parent.name] for parent in request.parents.values()),
        "state": request.state(),
        **{group: getattr(config, group).name for group in GROUPS},
        **{key: getattr(config, key) for key in ("finetune", "precision", "seed")},
        "train_images": images.train,
        "validation_images": images.validation,
        "test_images": images.test,
        "classes": request.description.classes,
        "parameters": one.parameters,
        "forward_flops": one.flops,
        "iterations": epochs * -(-train // config.recipe.batch),
        "training_flops": training + testing,
        "testing_flops": tested,
        "weights_bytes": held.weights,
        "gradients_bytes": held.gradients,
        "optimiser_bytes": held.optimiser,
        "activations_bytes": held.activations,
        "rate": str(rate) if rate else "",
        "training_hours": (training / rate.training + testing / rate.testing) / HOUR if rate else 0,
        "testing_hours": tested / rate.testing / HOUR if rate else 0,
    }


def _timed(request: Request, timed: dict[Any, Rate]) -> Rate:
    """The rate of a net on this machine, by a few steps taken now."""
    config, net = request.config, request.net
    how = (config.precision, config.test_precision, config.threads, config.device, config.compile)
    size = (config.size.width, config.size.poolings, net.crop, net.channels)
    like = (*size, config.recipe.batch, *how)
    own = (*like, net.layers[:-1])
    if (known := timed.get(like) or timed.get(own)) is not None:
        return known
    device = pick(config.device)
    where = f"{device.type}, {config.precision}"
    where += f", {config.threads} threads" if device.type == "cpu" else ""
    name = f"{config.arch.name} at size={config.size.name} ({where})"
    if config.progress:
        print(f"timing steps of {name}", file=sys.stderr)
    found = Rate(*measure(net, config, device), f"timed on steps of {name}")
    timed[like if training_flops(net) > LONG * found.training else own] = found
    return found


def epochs_left(request: Request) -> int:
    """Epochs that a run has still to train: at most, where a plateau may end it sooner.

    By its log: one that was killed trains again what came after its last checkpoint.
    """
    state, log = request.state(), request.folder / LOG
    if state not in ("new", "goes on"):
        return 0
    lines = 0
    with suppress(OSError):
        lines = read_whole(log, LARGEST_LOG).count(b"\n") if state == "goes on" else 0
    return max(0, request.config.epochs - max(0, lines - 1))


def labels(requests: Sequence[Request]) -> dict[str, str]:
    """By the name of each run, the words that tell it from the others, as in `D-S256`."""
    words = pd.DataFrame(
        {
            **{key: [getattr(r.config, key).name for r in requests] for key in GROUPS},
            "fc": ["fc" if r.config.finetune == "fc" else "" for r in requests],
            "precision": [r.config.precision for r in requests],
            "seed": [f"s{r.config.seed}" for r in requests],
        }
    )
    told = [key for key in words if key in ("arch", "scale", "fc") or words[key].nunique() > 1]
    found = ["-".join(filter(None, row)) for row in words[told].itertuples(index=False)]
    twice = {label for label, count in Counter(found).items() if count > 1}
    names = [request.name for request in requests]
    return {n: n if label in twice else label for n, label in zip(names, found, strict=True)}


def page(rows: pd.DataFrame) -> str:
    """The table for people, its totals, the paper's time, and how all of it was counted."""
    todo = rows[rows.rate != ""]
    data = rows.drop_duplicates(["data", "classes"])
    lines = [
        f"data {row.data}: {row.train_images:,} training, {row.validation_images:,} validation "
        f"and {row.test_images:,} test images in {row.classes:,} classes"
        for row in data.itertuples()
    ]
    lines += ["", _table(rows), "", *_totals(todo, len(rows) - len(todo))]
    for said, same in todo.groupby("rate", sort=False):
        of = f": {', '.join(same.run)}" if len(same) < len(todo) else ""
        lines.append(f"rate: {said}{of}")
    return "\n".join([*lines, "", COUNTED])


def _table(rows: pd.DataFrame) -> str:
    state = rows.weights_bytes + rows.gradients_bytes + rows.optimiser_bytes
    columns = {
        "run": rows.run,
        "from": rows.starts_from,
        "state": rows.state,
        "parameters": rows.parameters.map("{:,}".format),
        "FLOPs of a crop": rows.forward_flops.map("{:,}".format),
        "iterations": rows.iterations.map("{:,}".format),
        "state of training": state.map(size),
        "a batch": rows.activations_bytes.map(size),
        "training": rows.training_hours.map(span),
        "testing": rows.testing_hours.map(span),
    }
    return pd.DataFrame(columns).to_string(index=False)


def _totals(todo: pd.DataFrame, finished: int) -> list[str]:
    if todo.empty:
        return [f"nothing is to be done: {finished} finished"]
    runs = f"{len(todo)} run{'s' if len(todo) > 1 else ''} to be done"
    runs += f", {finished} finished" if finished else ""
    testing = todo.testing_hours.sum()
    total = todo.training_hours.sum() + testing
    operations = todo.training_flops.sum() + todo.testing_flops.sum()
    longest = todo.iloc[int(todo.training_hours.argmax())]
    low, high = (weeks * WEEK for weeks in TRAINING_WEEKS)
    return [
        f"{runs}: {span(total)} one after another, {100 * testing / (total or 1):.3g}% of it "
        f"testing; {operations:.3g} FLOPs",
        f"the paper: two to three weeks ({low} to {high} hours) a net on four Titan Black "
        f"(Section 3.3); here: {span(longest.training_hours)} for {longest.run}, at most",
    ]


def size(count: int) -> str:
    """Bytes as people read them, as in `1.55 GiB`."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


def span(hours: float) -> str:
    """A time in words, as in `524 h (22 days)`."""
    if hours == 0:
        return "-"
    unit, count = ("h", hours) if hours >= 1 else ("min", 60 * hours)
    if count < 1:
        unit, count = "s", 3600 * hours
    number = f"{count:,.0f}" if count >= 100 else f"{count:.3g}"
    return f"{number} {unit}" + (f" ({hours / 24:,.0f} days)" if hours >= 48 else "")
