"""Why a claim is not testable here: rules about its two sides as they are, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from repro.config.schema import Config
from repro.model.geometry import LRN_WINDOW, geometry, lrn_channels
from repro.model.reading import at_full_size
from repro.protocol.protocols import KINDS, PROTOCOLS, readings
from repro.protocol.scales import pixels
from repro.report.built import as_run
from repro.report.net import members
from repro.report.settings import Comparison
from repro.report.sides import Pair, Side
from repro.store.runs import Run

GREY_LEVELS = 255


def obstacle(pairs: Iterable[Pair], comparison: Comparison) -> str:
    """The first reason why some of the pairs cannot show what the paper's do; empty: none.

    Args:
        pairs: measured, or at least trained.
        comparison: the runs of a setting.
    """
    for pair in pairs:
        reasons = [
            *(overhang(side, comparison) for side in pair.sides),
            native_size(pair, comparison),
            *(normalised_over_all(side, comparison) for side in pair.sides),
            *(normalised_by_a_constant(side, comparison) for side in pair.sides),
        ]
        for reason in reasons:
            if reason:
                return reason
    return ""


def _runs(side: Side, comparison: Comparison) -> list[Run]:
    """A run of each member of a side: what is asked of them is the same for every seed."""
    return [comparison.nets[comparison.plain(net)][0] for net in members(side.net)]


def _scales(side: Side, config: Config) -> set[int]:
    """The test scales of a member of a side, in paper pixels."""
    if side.q:
        return {*side.q, *side.above}
    return {q for qs in readings(side.test, config.scale) for q in qs}


def overhang(side: Side, comparison: Comparison) -> str:
    """Says so where the last window hangs over the image by a larger share than the paper's."""
    if not any(KINDS[kind].on_score_map for kind in PROTOCOLS[side.test].kinds):
        return ""
    for config in (run.config for run in _runs(side, comparison)):
        here = as_run(config, comparison.classes)
        there = at_full_size(config.arch, channels=here.channels, classes=here.classes)
        for q in sorted(_scales(side, config)):
            ours = geometry(here, pixels(q, here.crop)).overhang
            theirs = geometry(there, q).overhang
            if ours * there.crop > theirs * here.crop:
                return (
                    f"{config.arch.name} at Q={q}: the last window hangs over the image by {ours} "
                    f"of {here.crop} pixels, at the paper's size by {theirs} of {there.crop}"
                )
    return ""


def native_size(pair: Pair, comparison: Comparison) -> str:
    """Says so where the sides differ in S or Q and the images have fewer pixels than the larger."""
    used = [_scales_used(side, comparison) for side in pair.sides]
    first = _runs(pair.left, comparison)[0]
    native = first.result["data"].get("smallest_side")
    if used[0] == used[1] or native is None:
        return ""
    largest = max(max(scales) for both in used for scales in both)
    here = pixels(largest, comparison.crop)
    if here <= native:
        return ""
    return (
        f"images of {native} pixels have no more detail to show at S or Q of {largest}, "
        f"{here} pixels here"
    )


def _scales_used(side: Side, comparison: Comparison) -> tuple[frozenset[int], frozenset[int]]:
    """S and Q of a side, over its members."""
    configs = [run.config for run in _runs(side, comparison)]
    trained = {s for config in configs for s in (config.scale.smin, config.scale.smax)}
    tested = {q for config in configs for q in _scales(side, config)}
    return frozenset(trained), frozenset(tested)


def normalised_over_all(side: Side, comparison: Comparison) -> str:
    """Says so where local response normalisation sums over all channels of a map."""
    for run in _runs(side, comparison):
        config = run.config
        here = lrn_channels(as_run(config, comparison.classes))
        if here is not None and here <= LRN_WINDOW:
            full = lrn_channels(at_full_size(config.arch, channels=3, classes=2))
            return (
                f"LRN's window of {LRN_WINDOW} covers all {here} channels of "
                f"{config.arch.name} here, at the paper's size {LRN_WINDOW} of {full}"
            )
    return ""


def normalised_by_a_constant(side: Side, comparison: Comparison) -> str:
    """Says so where the input is so small that local response normalisation hardly acts.

    It divides by (k + alpha * sum of squares)^beta. Its k and alpha were made for grey levels.
    """
    for run in _runs(side, comparison):
        config = run.config
        has_lrn = lrn_channels(as_run(config, comparison.classes)) is not None
        if has_lrn and config.recipe.input_range < GREY_LEVELS:
            return (
                f"LRN's constants are those for input in 0-{GREY_LEVELS}, and that of "
                f"{config.arch.name} is in 0-{config.recipe.input_range:g} here: it divides by "
                "nearly the same everywhere"
            )
    return ""
