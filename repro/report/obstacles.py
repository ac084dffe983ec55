"""Why a claim is not testable here: rules about its two sides as they are, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from repro.config.schema import Config
from repro.model.geometry import LRN_WINDOW, geometry, lrn_channels
from repro.model.reading import at_full_size
from repro.protocol.protocols import KINDS, PROTOCOLS, readings
from repro.protocol.scales import pixels
from repro.report.built import as_run
from repro.report.measured import read_log
from repro.report.net import Net, members
from repro.report.settings import Comparison
from repro.report.sides import Pair, Side
from repro.store.runs import Run

FLAT = 3.0
"""Points by which the training error of a net that is trained out may still fall, from the mean of
the third quarter of its epochs to the mean of the last."""
NOISE = 2.0
"""Standard errors over seeds by which a deeper net's training error may be above a shallower's."""
GREY_LEVELS = 255


def obstacle(
    pairs: Iterable[Pair], comparison: Comparison, seeds: Sequence[int] | None = None
) -> str:
    """The first reason why some of the pairs cannot show what the paper's do; empty: none.

    Args:
        pairs: measured, or at least trained.
        comparison: the runs of a setting.
        seeds: those whose training counts; None: the claim is not about errors.
    """
    return next((reason for pair in pairs for reason in _reasons(pair, comparison, seeds)), "")


def _reasons(pair: Pair, comparison: Comparison, seeds: Sequence[int] | None) -> Iterator[str]:
    for side in pair.sides:
        yield from overhang(side, comparison)
        yield from weak_lrn(side, comparison)
    if seeds is not None:
        yield from file_itself(pair, comparison)
        yield from unequal_lengths(pair, comparison)
        for net in dict.fromkeys(net for side in pair.sides for net in members(side.net)):
            yield from still_falling(net, comparison, seeds)
        yield from harder_to_train(pair, comparison, seeds)


def _runs(side: Side, comparison: Comparison) -> list[Run]:
    """A run of each member of a side: what is asked of them is the same for every seed."""
    return [comparison.runs_of(net)[0] for net in members(side.net)]


def _scales(side: Side, config: Config) -> set[int]:
    """The test scales of a member of a side, in paper pixels."""
    if side.q:
        return {*side.q, *side.above}
    return {q for qs in readings(side.test, config.scale) for q in qs}


def overhang(side: Side, comparison: Comparison) -> Iterator[str]:
    """Says so where the last window hangs over the image by a larger share than the paper's."""
    if not any(KINDS[kind].on_score_map for kind in PROTOCOLS[side.test].kinds):
        return
    for config in (run.config for run in _runs(side, comparison)):
        here = as_run(config, comparison.classes)
        there = at_full_size(config.arch, channels=here.channels, classes=here.classes)
        for q in sorted(_scales(side, config)):
            ours = geometry(here, pixels(q, here.crop)).overhang
            theirs = geometry(there, q).overhang
            if ours * there.crop > theirs * here.crop:
                yield (
                    f"{config.arch.name} at Q={q}: the last window hangs over the image by {ours} "
                    f"of {here.crop} pixels, at the paper's size by {theirs} of {there.crop}"
                )


def weak_lrn(side: Side, comparison: Comparison) -> Iterator[str]:
    """Says so where local response normalisation is another thing than at the paper's size.

    It divides by (k + alpha * sum of squares)^beta: over all channels of a map where these are no
    more than its window, by a constant where the input is small, for alpha is that of grey levels.
    """
    for config in (run.config for run in _runs(side, comparison)):
        here = lrn_channels(as_run(config, comparison.classes))
        if here is not None and here <= LRN_WINDOW:
            full = lrn_channels(at_full_size(config.arch, channels=3, classes=2))
            yield (
                f"LRN's window of {LRN_WINDOW} covers all {here} channels of "
                f"{config.arch.name} here, at the paper's size {LRN_WINDOW} of {full}"
            )
        if here is not None and config.recipe.input_range < GREY_LEVELS:
            yield (
                f"LRN's constants are those for input in 0-{GREY_LEVELS}, and that of "
                f"{config.arch.name} is in 0-{config.recipe.input_range:g} here: it divides by "
                "nearly the same everywhere"
            )


def file_itself(pair: Pair, comparison: Comparison) -> Iterator[str]:
    """Says so where one of several test scales is that of the files: they alone are not resampled.

    Resampling blurs, so the error at such a Q says nothing about the scale.
    """
    runs = [(side, run) for side in pair.sides for run in _runs(side, comparison)]
    native = runs[0][1].result["data"].get("smallest_side")
    used = {q: pixels(q, comparison.crop) for side, run in runs for q in _scales(side, run.config)}
    if native is None or comparison.config.data.enlarge is not None or len(used) == 1:
        return
    for q in (q for q, side in sorted(used.items()) if side == native):
        yield f"at Q={q} the images are the files of {native} pixels, at other Q resampled ones"


def unequal_lengths(pair: Pair, comparison: Comparison) -> Iterator[str]:
    """Says so where one side was trained for more epochs than the other, parents included.

    Nets on both sides, as an ensemble's member that it is compared with, are of one length.
    """
    left, right = (set(members(side.net)) for side in pair.sides)
    if not left - right or not right - left:
        return
    longest = []
    for own in (left - right, right - left):
        lengths = [(lineage_epochs(comparison.runs_of(net)[0], comparison), net) for net in own]
        for _, net in (one for one in lengths if one[0] is None):
            yield f"lengths not known: what {net} starts from is not among the runs"
            return
        longest.append(max((epochs or 0, str(net)) for epochs, net in lengths))
    (ours, one), (theirs, other) = longest
    if ours != theirs:
        yield f"unequal lengths: {one} {ours} epochs, {other} {theirs}"


def lineage_epochs(
    run: Run, comparison: Comparison, below: frozenset[str] = frozenset()
) -> int | None:
    """The epochs that a run and those before it may have; None: one of these is not there.

    Under a rule that ends training early all have the same rule, and lengths as they need.
    """
    longest = 0
    for identity in run.result.get("parents", {}).values():
        parent = comparison.by_identity.get(identity)
        if parent is None or identity in below:
            return None
        before = lineage_epochs(parent, comparison, below | {run.identity})
        if before is None:
            return None
        longest = max(longest, before)
    return run.config.epochs + longest


def train_errors(net: Net, comparison: Comparison, seeds: Sequence[int]) -> list[list[float]]:
    """The training errors of a net in percent, by seed and epoch; empty where a log is missing."""
    runs = [run for run in comparison.runs_of(net) if run.config.seed in seeds]
    logs = [read_log(run) for run in runs]
    found = [log.train_error.tolist() for log in logs if log is not None]
    return found if len(found) == len(logs) else []


def last_fall(errors: Sequence[float]) -> float:
    """By how much an error falls from the third quarter of its epochs to the last, in its unit.

    Args:
        errors: of four epochs or more.
    """
    half, last = len(errors) // 2, 3 * len(errors) // 4
    return float(np.mean(errors[half:last]) - np.mean(errors[last:]))


def still_falling(net: Net, comparison: Comparison, seeds: Sequence[int]) -> Iterator[str]:
    """Says so where a net's training error is not flat at its end, on the mean of its seeds."""
    errors = train_errors(net, comparison, seeds)
    if not errors:
        yield f"not trained out: no log of {net}"
    elif (epochs := min(map(len, errors))) < 4:
        yield f"not trained out: {net} has {epochs} epochs, too few to tell"
    elif (fall := float(np.mean([last_fall(one) for one in errors]))) > FLAT:
        yield (
            f"not trained out: the training error of {net} falls by {fall:.1f} points in its last "
            f"quarter, more than {FLAT:g}"
        )


def harder_to_train(pair: Pair, comparison: Comparison, seeds: Sequence[int]) -> Iterator[str]:
    """Says so where the deeper of two nets ends at a higher training error, by more than noise."""
    if any(isinstance(side.net, tuple) for side in pair.sides):
        return
    nets = [members(side.net)[0] for side in pair.sides]
    layers = [
        as_run(run.config, comparison.classes).weight_layers
        for side in pair.sides
        for run in _runs(side, comparison)
    ]
    if layers[0] == layers[1]:
        return
    by_depth = sorted(zip(layers, nets, strict=True), reverse=True)
    ends = [[one[-1] for one in train_errors(net, comparison, seeds)] for _, net in by_depth]
    if min(map(len, ends)) < 2:
        return
    deep, shallow = map(np.mean, ends)
    error = math.sqrt(sum(np.var(one, ddof=1) / len(one) for one in ends))
    if deep - shallow > NOISE * error:
        words = [f"{net} ({count} layers)" for count, net in by_depth]
        yield (
            f"not trained out: the training error of {words[0]} ends at {deep:.1f}%, that of "
            f"{words[1]} at {shallow:.1f}%"
        )
