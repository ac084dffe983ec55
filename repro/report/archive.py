"""What is published of runs: their settings, logs and ranks, from which the report follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from repro.errors import RequestError
from repro.report.measured import Measured, listed_images, read_log, seconds, views_of
from repro.report.published_nets import Family
from repro.report.settings import Comparison, recorded
from repro.store import ranks
from repro.store.files import read_whole, write_whole
from repro.store.ranks import Kept
from repro.store.runs import CONFIG, LOG, RESULT

COMMANDS = "commands.txt"
"""The command lines that made the runs."""


def keep(comparisons: Sequence[Comparison | Family], folder: Path) -> None:
    """Write all that reports need of runs into a folder, without weights and posteriors.

    The folder becomes one of runs (see `repro.store.ranks`) that a report can be made from.

    Raises:
        RequestError: views show other images than others do, or a configuration is a link.
        RunError: it cannot be written.
    """
    runs = [run for comparison in comparisons for run in comparison.runs]
    files = dict.fromkeys(run.folder.parent / COMMANDS for run in runs)
    earlier = [read_whole(one).decode() for one in files if one.is_file() and not one.is_symlink()]
    lines = dict.fromkeys([*"".join(earlier).splitlines(), *recorded(runs)])
    write_whole(folder / COMMANDS, "".join(f"{line}\n" for line in lines).encode())
    for run in runs:
        names = [CONFIG, RESULT, *[LOG] * (read_log(run) is not None)]
        for source in (run.folder / name for name in names):
            # A link could lead to what nobody meant to publish.
            if source.is_symlink() and source.name in (CONFIG, RESULT):
                raise RequestError(f"{source} is a link, and an archive takes files only")
            if source.is_file() and not source.is_symlink():
                write_whole(folder / run.name / source.name, read_whole(source, links=False))
    by_runs: dict[tuple[str, ...], list[Measured]] = {}
    for comparison in comparisons:
        for one in (*comparison.measured, *comparison.fused):
            by_runs.setdefault(tuple(run.identity for run in one.runs), []).append(one)
    for found in by_runs.values():
        _keep(found, folder)


def _keep(found: Sequence[Measured], folder: Path) -> None:
    runs = found[0].runs
    images = next((one for run in runs if (one := listed_images(run)) is not None), None)
    if images is None or any(one.images != len(images.ids) for one in found):
        raise RequestError(f"{runs[0].folder} has ranks, but not the list of their images")
    measured = {f"{one.protocol}@{one.q}": one.ranks for one in found}
    took = {view.name: seconds(runs[0], view) for view in views_of(runs[0]) if len(runs) == 1}
    known = {name: value for name, value in took.items() if value is not None}
    kept = Kept(found[0].ranks.classes, images.short, measured, known)
    ranks.write(folder, [run.identity for run in runs], kept, images)
