"""A forecast as people read it, and as a table for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from repro.errors import RequestError, RunError
from repro.forecast.rows import Row
from repro.model import memory
from repro.model.cost import cost
from repro.paper.numbers import TRAINING_WEEKS
from repro.store.files import write_whole

WEEK = 7 * 24
"""Hours."""
GB = 10**9
CARDS = (8, 12, 24)
"""Memory of usual cards, in GB."""
COUNTED = """\
Operations: two a multiply-add; a training step is three forward passes (its own, the gradients of
the activations and of the weights); each epoch ends with the centre crops of the validation
images; images that are tested whole are counted as squares of side Q. Decoding is not counted.
Memory of training, an estimate: weights, gradients and the optimiser's state; of a batch the input
and what each layer keeps for the backward pass. What a library uses beside that is not counted."""


def page(rows: Sequence[Row]) -> str:
    """The table, its totals, the paper's time, and how all of it was counted."""
    parts = [*_settings(rows), "", _table(rows), "", *_totals(rows), _paper(rows)]
    return "\n".join([*parts, "", *_rates(rows), COUNTED, *_at_most(rows)])


def _settings(rows: Sequence[Row]) -> Iterator[str]:
    """What the runs have in common, and the data."""
    words = []
    for group in ("size", "recipe", "init"):
        names = dict.fromkeys(getattr(row.request.config, group).name for row in rows)
        words.append(f"{group} {', '.join(names)}")
    batches = dict.fromkeys(str(row.request.config.recipe.batch) for row in rows)
    epochs = dict.fromkeys(str(row.request.config.epochs) for row in rows)
    words += [f"batch {', '.join(batches)}", f"epochs {', '.join(epochs)}"]
    yield "; ".join(words)
    yield from dict.fromkeys(
        f"data {row.request.config.data.name}: {row.images.train:,} training, "
        f"{row.images.validation:,} validation and {row.images.test:,} test images in "
        f"{row.request.net.classes:,} classes"
        for row in rows
    )


def _table(rows: Sequence[Row]) -> str:
    name, hour = unit(max(max(row.training_hours, row.testing_hours) for row in rows))
    table = pd.DataFrame(
        [
            {
                "#": str(place),
                "run": row.label,
                "starts from": row.starts_from,
                "state": row.request.state(),
                "parameters": f"{cost(row.request.net).parameters:,}",
                "FLOPs of\na crop": f"{cost(row.request.net).flops:,}",
                "iterations": f"{row.iterations:,}",
                "weights and\noptimiser": size(row.memory.state),
                "activations\nof a batch": size(row.memory.activations),
                f"training\n{name}": digits(row.training_hours * hour),
                f"testing\n{name}": digits(row.testing_hours * hour),
            }
            for place, row in enumerate(rows, start=1)
        ]
    )
    sides = ["right", "left", "left", "left", *["right"] * 7]
    text: str = table.to_markdown(
        index=False, tablefmt="simple", disable_numparse=True, colalign=sides
    )
    return text


def _totals(rows: Sequence[Row]) -> Iterator[str]:
    open_rows = [row for row in rows if row.rate is not None]
    if not open_rows:
        yield f"nothing is to be done: {len(rows)} finished"
        return
    total = sum(row.training_hours + row.testing_hours for row in open_rows)
    testing = sum(row.testing_hours for row in open_rows)
    operations = sum(row.training + row.testing for row in open_rows)
    largest = max(open_rows, key=lambda row: row.memory.total)
    held = largest.memory
    finished = len(rows) - len(open_rows)
    yield (
        f"{len(open_rows)} run{'s'[: len(open_rows) > 1]} to be done"
        + (f", {finished} finished" if finished else "")
        + f": {span(total)} one after another, {100 * testing / (total or 1):.2g}% of it "
        f"testing; {operations:.3g} FLOPs"
    )
    yield (
        f"most memory: {size(held.total)} for {largest.label} ({size(held.weights)} weights, "
        f"{size(held.gradients)} gradients, {size(held.optimiser)} optimiser, "
        f"{size(held.activations)} activations)"
    )
    yield from _micro_batches(open_rows)


def _micro_batches(rows: Sequence[Row]) -> Iterator[str]:
    """How much of a batch fits into the memory of usual cards, where not all of it does."""
    # What is normalised by the batch cannot be computed in parts.
    rows = [row for row in rows if not row.request.config.arch.batch_norm]
    if not rows:
        return
    largest = max(rows, key=lambda row: row.memory.total)
    config, batch = largest.request.config, largest.request.config.recipe.batch
    words: list[str] = []
    for card in CARDS:
        most = memory.largest_micro_batch(
            largest.request.net, config.recipe, config.precision, config.finetune, card * GB
        )
        if most == batch and not words:
            return
        fits = f"micro_batch={most}" if 0 < most < batch else "all" if most else "none"
        words.append(f"{card} GB: {fits}")
    yield f"of {largest.label}'s batch of {batch:,} images these fit at once: {', '.join(words)}"


def _paper(rows: Sequence[Row]) -> str:
    low, high = (weeks * WEEK for weeks in TRAINING_WEEKS)
    text = f"the paper: two to three weeks ({low} to {high} hours) a net on four Titan Black"
    longest = max(rows, key=lambda row: row.training_hours)
    if longest.rate is None:
        return f"{text} (Section 3.3)"
    return f"{text} (Section 3.3); here: {span(longest.training_hours)} for {longest.label}"


def _rates(rows: Sequence[Row]) -> Iterator[str]:
    """Each rate once, with the runs that it is for, where there are several."""
    runs: dict[str, list[str]] = {}
    for row in rows:
        if row.rate is not None:
            text = f"{row.rate.flops / 1e12:.3g} TFLOP/s, {row.rate.source}"
            runs.setdefault(text, []).append(row.label)
    for text, labels in runs.items():
        yield f"Rate: {text}" + (f": {', '.join(labels)}" if len(runs) > 1 else "")


def _at_most(rows: Sequence[Row]) -> Iterator[str]:
    if any(row.request.config.recipe.schedule == "plateau" and row.training for row in rows):
        yield "All epochs are counted; a plateau of the validation error may end a run sooner."


def size(count: int) -> str:
    """Bytes as people read them, as in `1.55 GiB`."""
    if count >= 2**30:
        return f"{count / 2**30:,.2f} GiB"
    return f"{count / 2**20:,.1f} MiB"


def digits(count: float) -> str:
    """A number that is whole from a hundred on and else has three digits."""
    return f"{count:,.0f}" if count >= 100 or count == 0 else f"{count:.3g}"


def unit(hours: float) -> tuple[str, int]:
    """The unit that a time is said in, and how many of it make an hour."""
    if hours >= 1 or hours == 0:
        return "hours", 1
    return ("minutes", 60) if hours >= 1 / 60 else ("seconds", 3600)


def span(hours: float) -> str:
    """A time in words, as in `524 hours (22 days)`."""
    name, hour = unit(hours)
    days = f" ({hours / 24:,.0f} days)" if hours >= 48 else ""
    return f"{digits(hours * hour)} {name}{days}"


def write(rows: Sequence[Row], out: Path) -> None:
    """The rows as CSV: bytes, operations and hours with all their digits.

    Raises:
        RequestError: it cannot be written there.
    """
    try:
        write_whole(out, table(rows).to_csv(index=False).encode())
    except RunError as error:
        raise RequestError(f"out={out}: {error}") from None


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as numbers, in the order of the runs."""
    groups = ("arch", "scale", "size", "data", "recipe", "init")
    scalars = ("finetune", "precision", "seed")
    return pd.DataFrame(
        [
            {"run": row.label, "starts_from": row.starts_from, "state": row.request.state()}
            | {group: getattr(row.request.config, group).name for group in groups}
            | {scalar: getattr(row.request.config, scalar) for scalar in scalars}
            | {
                "parameters": cost(row.request.net).parameters,
                "forward_flops": cost(row.request.net).flops,
                "iterations": row.iterations,
                "training_flops": row.training,
                "testing_flops": row.testing,
            }
            | _bytes(row.memory)
            | {
                "flops_per_second": row.rate.flops if row.rate else None,
                "rate": row.rate.source if row.rate else "",
                "training_hours": row.training_hours,
                "testing_hours": row.testing_hours,
            }
            for row in rows
        ]
    )


def _bytes(held: memory.Memory) -> dict[str, int]:
    return {
        "weights_bytes": held.weights,
        "gradients_bytes": held.gradients,
        "optimiser_bytes": held.optimiser,
        "activations_bytes": held.activations,
    }
