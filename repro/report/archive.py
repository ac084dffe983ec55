"""What is published of runs: their settings, logs and ranks, from which the report follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from repro.errors import RequestError
from repro.protocol.protocols import PROTOCOLS, View, views
from repro.report import preprocessing
from repro.report.measured import Measured, listed_images, read_log, seconds
from repro.report.published_nets import Family
from repro.report.settings import Comparison
from repro.store import ranks, varied
from repro.store.files import read_whole, write_whole
from repro.store.ranks import Kept
from repro.store.runs import ACTIVATIONS, CONFIG, CROPS, LOG, RESULT, Run

COMMANDS = "commands.txt"
"""The command lines that make the runs again."""


def keep(comparisons: Sequence[Comparison | Family], folder: Path) -> None:
    """Write all that reports need of runs into a folder, without weights and posteriors.

    Args:
        comparisons: the runs, a setting each.
        folder: becomes a folder of runs (see `repro.store.ranks`) that a report can be made from.

    Raises:
        RequestError: the views of a run show other images than those of another, or its
            configuration or its result is a link.
        RunError: it cannot be written.
    """
    lines = [line for comparison in comparisons for line in comparison.made()]
    write_whole(folder / COMMANDS, "".join(f"{line}\n" for line in lines).encode())
    for comparison in comparisons:
        # One picture of crops is enough: it shows the same images for every run.
        pictured = next((run for run in comparison.runs if (run.folder / CROPS).is_file()), None)
        for run in comparison.runs:
            names = [CONFIG, RESULT, ACTIVATIONS, *_other_ways(run)]
            names += [LOG] * (read_log(run) is not None) + [CROPS] * (run is pictured)
            for name in names:
                source = run.folder / name
                if name in (CONFIG, RESULT) and source.is_symlink():
                    raise RequestError(f"{source} is a link, and an archive takes files only")
                # A link could lead to what nobody meant to publish.
                if source.is_file() and not source.is_symlink():
                    write_whole(folder / run.name / name, read_whole(source, links=False))
        by_runs: dict[tuple[str, ...], list[Measured]] = {}
        for one in (*comparison.measured, *comparison.fused):
            by_runs.setdefault(tuple(run.identity for run in one.runs), []).append(one)
        for identities, found in by_runs.items():
            _keep(identities, found, folder)


def _other_ways(run: Run) -> list[str]:
    found = varied.most(run.folder, preprocessing.KEYS)
    return [] if found is None else [varied.file_name(found[0])]


def _keep(identities: Sequence[str], found: Sequence[Measured], folder: Path) -> None:
    runs, classes = found[0].runs, found[0].ranks.classes
    images = next((one for run in runs if (one := listed_images(run)) is not None), None)
    if images is None:
        raise RequestError(f"{runs[0].folder} has ranks, but not the list of their images")
    if any(len(one.ranks.values) != len(images.ids) for one in found):
        raise RequestError(f"{runs[0].folder}: ranks and the list of their images differ in number")
    measured = {f"{one.protocol}@{one.q}": one.ranks for one in found}
    seconds = _seconds(runs[0]) if len(runs) == 1 else {}
    what = Kept(classes, images.short, measured, seconds)
    ranks.write(folder, identities, what, images)


def _views(run: Run) -> Iterable[View]:
    config = run.config
    every = (views(protocol, config.scale, config.data.mirror) for protocol in PROTOCOLS)
    return dict.fromkeys(view for some in every for view in some)


def _seconds(run: Run) -> dict[str, float]:
    found = {view.name: seconds(run, view) for view in _views(run)}
    return {name: took for name, took in found.items() if took is not None}
