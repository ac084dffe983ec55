"""Why a claim is not testable here: rules about its two sides as they are, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from repro.config.schema import Config
from repro.model.cost import LRN_WINDOW, lrn_channels, overhang
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

    `seeds` are those whose training counts; None: the claim is not about errors.
    """
    return next((reason for pair in pairs for reason in _reasons(pair, comparison, seeds)), "")


def _reasons(pair: Pair, comparison: Comparison, seeds: Sequence[int] | None) -> Iterator[str]:
    for side in pair.sides:
        for config in _configs(side, comparison):
            yield from _overhang(side, config, comparison)
            yield from _weak_lrn(config, comparison)
    if seeds is not None:
        yield from _file_itself(pair, comparison)
        yield from _unequal_lengths(pair, comparison)
        for net in dict.fromkeys(net for side in pair.sides for net in members(side.net)):
            yield from _still_falling(net, comparison, seeds)
        yield from _harder_to_train(pair, comparison, seeds)


def _configs(side: Side, comparison: Comparison) -> list[Config]:
    """Of each member of a side: what is asked of them is the same for every seed."""
    return [comparison.runs_of(net)[0].config for net in members(side.net)]


def _scales(side: Side, config: Config) -> set[int]:
    """The test scales of a member of a side, in paper pixels."""
    every = [[*side.q, *side.above]] if side.q else readings(side.test, config.scale)
    return {q for qs in every for q in qs}


def _overhang(side: Side, config: Config, comparison: Comparison) -> Iterator[str]:
    """The last window hangs over the image by a larger share than the paper's."""
    if not any(KINDS[kind].on_score_map for kind in PROTOCOLS[side.test].kinds):
        return
    here = as_run(config, comparison.classes)
    there = at_full_size(config.arch, channels=here.channels, classes=here.classes)
    for q in sorted(_scales(side, config)):
        ours = overhang(here, pixels(q, here.crop))
        theirs = overhang(there, q)
        if ours * there.crop > theirs * here.crop:
            yield (
                f"{config.arch.name} at Q={q}: the last window hangs over the image by {ours} "
                f"of {here.crop} pixels, at the paper's size by {theirs} of {there.crop}"
            )


def _weak_lrn(config: Config, comparison: Comparison) -> Iterator[str]:
    """Local response normalisation is another thing than at the paper's size.

    It divides by (k + alpha * sum of squares)^beta: over all channels of a map where these are no
    more than its window, by a constant where the input is small, for alpha is that of grey levels.
    """
    here, name = lrn_channels(as_run(config, comparison.classes)), config.arch.name
    if here is not None and here <= LRN_WINDOW:
        full = lrn_channels(at_full_size(config.arch, channels=3, classes=2))
        yield (
            f"LRN's window of {LRN_WINDOW} covers all {here} channels of {name} here, at the "
            f"paper's size {LRN_WINDOW} of {full}"
        )
    if here is not None and config.recipe.input_range < GREY_LEVELS:
        yield (
            f"LRN's constants are those for input in 0-{GREY_LEVELS}, and that of {name} is in "
            f"0-{config.recipe.input_range:g} here: it divides by nearly the same everywhere"
        )


def _file_itself(pair: Pair, comparison: Comparison) -> Iterator[str]:
    """One of several test scales is that of the files: they alone are not resampled.

    Resampling blurs, so the error at such a Q says nothing about the scale.
    """
    native = comparison.runs_of(pair.left.net)[0].result["data"].get("smallest_side")
    used = {
        q: pixels(q, config.size.crop)
        for side in pair.sides
        for config in _configs(side, comparison)
        for q in _scales(side, config)
    }
    if comparison.config.data.enlarge is None and len(used) > 1:
        for q in (q for q, side in sorted(used.items()) if side == native):
            yield f"at Q={q} the images are the files of {native} pixels, at other Q resampled ones"


def _unequal_lengths(pair: Pair, comparison: Comparison) -> Iterator[str]:
    """One side was trained for more epochs than the other, parents included.

    Nets on both sides, as an ensemble's member that it is compared with, are of one length.
    """
    left, right = (set(members(side.net)) for side in pair.sides)
    if not left - right or not right - left:
        return
    longest = []
    for own in (left - right, right - left):
        lengths = {str(net): _lineage_epochs(comparison.runs_of(net)[0], comparison) for net in own}
        if unknown := [net for net, epochs in lengths.items() if epochs is None]:
            yield f"lengths not known: what {unknown[0]} starts from is not among the runs"
            return
        longest.append(max((epochs or 0, net) for net, epochs in lengths.items()))
    (ours, one), (theirs, other) = longest
    if ours != theirs:
        yield f"unequal lengths: {one} {ours} epochs, {other} {theirs}"


def _lineage_epochs(
    run: Run, comparison: Comparison, below: frozenset[str] = frozenset()
) -> int | None:
    """The epochs that a run and those before it may have; None: one of these is not there.

    Under a rule that ends training early all have the same rule, and lengths as they need.
    """
    longest = 0
    for identity in run.result.get("parents", {}).values():
        parent = comparison.by_identity.get(identity)
        # A stored run may say that it comes before itself.
        if parent is None or identity in below:
            return None
        before = _lineage_epochs(parent, comparison, below | {run.identity})
        if before is None:
            return None
        longest = max(longest, before)
    return run.config.epochs + longest


def _train_errors(net: Net, comparison: Comparison, seeds: Sequence[int]) -> list[list[float]]:
    """The training errors of a net in percent, by seed and epoch; empty where a log is missing."""
    logs = [read_log(run) for run in comparison.runs_of(net) if run.config.seed in seeds]
    found = [log.train_error.tolist() for log in logs if log is not None]
    return found if len(found) == len(logs) else []


def _last_fall(errors: Sequence[float]) -> float:
    """By how much an error falls from the third quarter of four epochs or more to the last."""
    half, last = len(errors) // 2, 3 * len(errors) // 4
    return float(np.mean(errors[half:last]) - np.mean(errors[last:]))


def _still_falling(net: Net, comparison: Comparison, seeds: Sequence[int]) -> Iterator[str]:
    """A net's training error is not flat at its end, on the mean of its seeds."""
    errors = _train_errors(net, comparison, seeds)
    if not errors:
        yield f"not trained out: no log of {net}"
    elif (epochs := min(map(len, errors))) < 4:
        yield f"not trained out: {net} has {epochs} epochs, too few to tell"
    elif (fall := float(np.mean(list(map(_last_fall, errors))))) > FLAT:
        yield (
            f"not trained out: the training error of {net} falls by {fall:.1f} points in its last "
            f"quarter, more than {FLAT:g}"
        )


def _harder_to_train(pair: Pair, comparison: Comparison, seeds: Sequence[int]) -> Iterator[str]:
    """The deeper of two nets ends at a higher training error, by more than noise."""
    by_depth = []
    for side in pair.sides:
        if isinstance(side.net, tuple):
            return
        (config,) = _configs(side, comparison)
        by_depth.append((as_run(config, comparison.classes).weight_layers, side.net))
    by_depth.sort(reverse=True)
    ends = [[one[-1] for one in _train_errors(net, comparison, seeds)] for _, net in by_depth]
    if by_depth[0][0] == by_depth[1][0] or min(map(len, ends)) < 2:
        return
    deep, shallow = map(np.mean, ends)
    error = math.sqrt(sum(np.var(one, ddof=1) / len(one) for one in ends))
    if deep - shallow > NOISE * error:
        words = [f"{net} ({count} layers)" for count, net in by_depth]
        yield (
            f"not trained out: the training error of {words[0]} ends at {deep:.1f}%, that of "
            f"{words[1]} at {shallow:.1f}%"
        )
