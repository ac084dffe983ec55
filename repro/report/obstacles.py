"""Why a claim is not testable here: rules about its two sides as they are, and nothing else."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from repro.config.schema import Arch, Config
from repro.model import layers
from repro.model.cost import LRN_WINDOW, lrn_channels, overhang
from repro.model.reading import spec_of
from repro.protocol.protocols import CONSTANT, KINDS, PROTOCOLS, readings
from repro.protocol.scales import pixels
from repro.report.measured import read_log, spread
from repro.report.net import Net, NetOrEnsemble, built, label, members
from repro.report.settings import Comparison
from repro.report.sides import Pair, Side
from repro.store.runs import Run

FLAT = 1.0
"""Points by which the training error of a net that is trained out may still fall in its last epoch,
set by the pilots of docs/evidence.md."""
AHEAD = 3.0
"""Points by which a net's box error must be below that of the best constant box."""
NOISE = 2.0
"""Standard errors over seeds by which a deeper net's training error may be above a shallower's."""
GREY_LEVELS = 255
UNTRAINED = "not trained out"
"""How the reasons begin that are about training."""


def obstacle(
    pairs: Iterable[Pair], comparison: Comparison, seeds: Sequence[int] | None = None
) -> str:
    """The first reason why pairs cannot show what the paper's do, or none; `seeds`: of errors."""
    return next((reason for pair in pairs for reason in _reasons(pair, comparison, seeds)), "")


def _reasons(pair: Pair, comparison: Comparison, seeds: Sequence[int] | None) -> Iterator[str]:
    for side, config in _configs(pair, comparison):
        yield from _overhang(side, config, comparison)
        here = built(config, comparison.classes)
        yield from weak_lrn(config.arch, here, config.recipe.input_range)
    if PROTOCOLS[pair[0].test].boxes:
        yield from filter(None, (unlocated([side.net], side.test, comparison) for side in pair))
    if seeds is not None:
        yield from _file_itself(pair, comparison)
        yield from _unequal_lengths(pair, comparison)
        nets = [net for side in pair for net in members(side.net)]
        for net in dict.fromkeys(one for own in nets for one in (own.classifier, own)):
            yield from _still_falling(net, comparison, seeds)
        yield from _harder_to_train(pair, comparison, seeds)


def unlocated(nets: Sequence[NetOrEnsemble], test: str, comparison: Comparison) -> str:
    """Why a test of localisation shows nothing; empty: a net beats the best constant box."""
    shown = [(net, cells) for net in nets if (cells := comparison.cells(net, test))]
    alone = [one for net, _ in shown for one in comparison.cells(members(net)[0], CONSTANT)]
    if not shown or not alone:
        return "the best constant box was not tested beside (test=[box_constant])"
    constant = spread(alone[:1])["mean"]
    errors = {net: spread(cells)["mean"] for net, cells in shown}
    if min(errors.values()) <= constant - AHEAD:
        return ""
    seeds = {net: f"{len(cells)} seed{'s' if len(cells) > 1 else ''}" for net, cells in shown}
    each = ", ".join(f"{label(net)} one of {errors[net]:.1f}% ({seeds[net]})" for net in errors)
    images = f"on {len(alone[0].wrong):,} test images ({PROTOCOLS[test].title})"
    said = f"{images} the best one has an error of {constant:.1f}%, {each}"
    return f"a constant box is not beaten by {AHEAD:g} points: {said}"


def _configs(pair: Pair, comparison: Comparison) -> list[tuple[Side, Config]]:
    """Each member of each side: what is asked of a configuration is the same for every seed."""
    nets = [(side, net) for side in pair for net in members(side.net)]
    return [(side, comparison.runs_of(net)[0].config) for side, net in nets]


def _scales(side: Side, config: Config) -> list[int]:
    """The test scales of a member of a side, in paper pixels."""
    every = [(*side.q, *side.above)] if side.q else readings(side.test, config.scale)
    return sorted({q for qs in every for q in qs})


def _overhang(side: Side, config: Config, comparison: Comparison) -> Iterator[str]:
    """The last window hangs over the image by a larger share than the paper's."""
    here, name = built(config, comparison.classes), config.arch.name
    there = spec_of(config.arch, channels=here.channels, classes=here.classes)
    on_map = any(KINDS[kind].on_score_map for kind in PROTOCOLS[side.test].kinds)
    for q in _scales(side, config) if on_map else ():
        ours, theirs = overhang(here, pixels(q, here.crop)), overhang(there, q)
        if ours * there.crop > theirs * here.crop:
            words = f"{name} at Q={q}: the last window hangs over the image by {ours} of"
            yield f"{words} {here.crop} pixels, at the paper's size by {theirs} of {there.crop}"


def weak_lrn(arch: Arch, net: layers.Spec, input_range: float) -> Iterator[str]:
    """LRN sees all channels of a net, or divides by a constant, for its alpha is for 0-255."""
    here = lrn_channels(net)
    if here is not None and here <= LRN_WINDOW:
        full = lrn_channels(spec_of(arch, channels=3, classes=2))
        words = f"LRN's window of {LRN_WINDOW} covers all {here} channels of {arch.name} here"
        yield f"{words}, at the paper's size {LRN_WINDOW} of {full}"
    if here is not None and input_range < GREY_LEVELS:
        words = f"LRN's constants are for input in 0-{GREY_LEVELS}, and the input of {arch.name}"
        words += f" is in 0-{input_range:g} here"
        yield f"{words}: LRN divides by nearly the same everywhere"


def _file_itself(pair: Pair, comparison: Comparison) -> Iterator[str]:
    """One of several test scales is that of the files, which resampling does not blur."""
    native = comparison.runs_of(pair[0].net)[0].result["data"].get("smallest_side")
    every = [_scales(side, config) for side, config in _configs(pair, comparison)]
    used = sorted({q for scales in every for q in scales})
    for q in used if comparison.config.data.enlarge is None and len(used) > 1 else ():
        if pixels(q, comparison.config.size.crop) == native:
            yield f"at Q={q} the images are the files of {native} pixels, at other Q resampled ones"


def _unequal_lengths(pair: Pair, comparison: Comparison) -> Iterator[str]:
    """One side was trained for more epochs than the other, parents included."""
    left, right = (set(members(side.net)) for side in pair)
    longest = []
    for own in (left - right, right - left) if left - right and right - left else ():
        lengths = [(_lineage_epochs(comparison.runs_of(net)[0], comparison), net) for net in own]
        longest.append(max((epochs, str(net)) for epochs, net in lengths))
    if unknown := [net for epochs, net in longest if epochs == math.inf]:
        yield f"lengths not known: what {unknown[0]} starts from is not among the runs"
    elif longest and longest[0][0] != longest[1][0]:
        (ours, one), (theirs, other) = longest
        yield f"unequal lengths: {one} {ours:g} epochs, {other} {theirs:g}"


def _lineage_epochs(run: Run, comparison: Comparison, below: tuple[str, ...] = ()) -> float:
    """The epochs that a run and those before it may have; infinite: one of these is not there."""
    # A stored run may say that it comes before itself.
    if run.identity in below:
        return math.inf
    parents = map(comparison.by_identity.get, run.parents)
    own = (*below, run.identity)
    before = [_lineage_epochs(one, comparison, own) if one else math.inf for one in parents]
    return run.config.epochs + max(before, default=0)


def _runs(net: Net, comparison: Comparison, seeds: Sequence[int]) -> list[Run]:
    return [run for run in comparison.runs_of(net) if run.config.seed in seeds]


def _train_errors(net: Net, comparison: Comparison, seeds: Sequence[int]) -> list[list[float]]:
    """The training errors of a net in percent, by seed and epoch; empty where a log is missing."""
    logs = [read_log(run) for run in _runs(net, comparison, seeds)]
    found = [log.train_error.tolist() for log in logs if log is not None]
    return found if len(found) == len(logs) else []


def _still_falling(net: Net, comparison: Comparison, seeds: Sequence[int]) -> Iterator[str]:
    failed = [run.config.seed for run in _runs(net, comparison, seeds) if not run.learnt]
    yield from untrained(str(net), _train_errors(net, comparison, seeds), failed)


def untrained(net: str, errors: Sequence[Sequence[float]], failed: Sequence[int]) -> Iterator[str]:
    """A net did not learn, or its training error is not flat at its end, on the mean of seeds.

    `errors` are in percent, by seed and epoch; `failed` are the seeds that did not learn.
    """
    if failed:
        yield f"{UNTRAINED}: {net} of seed {failed[0]} did not learn"
    epochs = min(map(len, errors), default=0)
    if not epochs:
        yield f"{UNTRAINED}: no log of {net}"
    elif epochs < 4:
        yield f"{UNTRAINED}: {net} has {epochs} epochs, too few to tell"
    else:
        fall = float(np.mean([one[-2] - one[-1] for one in errors]))
        if fall > FLAT:
            words = f"the training error of {net} falls by {fall:.2f} points in its last epoch"
            yield f"{UNTRAINED}: {words}, more than {FLAT:g}"


def _harder_to_train(pair: Pair, comparison: Comparison, seeds: Sequence[int]) -> Iterator[str]:
    nets = [side.net for side in pair if isinstance(side.net, Net)]
    configs = [comparison.runs_of(net)[0].config for net in nets]
    counts = [built(config, comparison.classes).weight_layers for config in configs]
    errors = [_train_errors(net, comparison, seeds) for net in nets]
    yield from harder_to_train([*zip(counts, map(str, nets), errors, strict=True)])


def harder_to_train(nets: Sequence[tuple[int, str, Sequence[Sequence[float]]]]) -> Iterator[str]:
    """The deeper of two nets ends at a higher training error, by more than noise.

    A net is its number of weight layers, its name and its training errors by seed and epoch.
    """
    by_depth = sorted(nets, reverse=True)
    ends = [[one[-1] for one in errors] for _, _, errors in by_depth]
    if len({count for count, _, _ in nets}) < 2 or min(map(len, ends)) < 2:
        return
    deep, shallow = map(np.mean, ends)
    error = math.sqrt(sum(np.var(one, ddof=1) / len(one) for one in ends))
    if deep - shallow > NOISE * error:
        names = [f"{net} ({count} layers)" for count, net, _ in by_depth]
        words = f"the training error of {names[0]} ends at {deep:.1f}%, above the {shallow:.1f}% of"
        yield f"{UNTRAINED}: {words} {names[1]}: the deeper net is harder to train"
