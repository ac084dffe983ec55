"""The archive of a report: what it follows from, in one file, for others to make it again."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from repro.errors import RequestError, leave_out
from repro.report.measured import Measured, listed_images, read_log, seconds, stores_of, views_of
from repro.report.settings import Comparison, Family, recorded
from repro.report.transfer import Transfers
from repro.store import ranks, scores
from repro.store import runs as store
from repro.store.archive import ARCHIVE, COMMANDS, opened, pack
from repro.store.files import read_whole, write_whole
from repro.store.identity import tell_apart
from repro.store.ranks import Kept
from repro.store.runs import CONFIG, LOG, RESULT, Run
from repro.store.sharing import shared, shared_line


def packed(
    comparisons: Sequence[Comparison | Family], transfers: Sequence[Transfers], beside: Path
) -> list[Run]:
    """Put the archive into a report; its runs, as others will read them."""
    kept = beside / "runs"
    _archive(comparisons, transfers, kept)
    pack(kept, beside / ARCHIVE)
    shutil.rmtree(kept)
    # They were admitted by their views; what was just written needs no second look.
    runs = store.finished(opened(beside / ARCHIVE))
    tell_apart([(run.config, run.fingerprint) for run in runs])
    return runs


def _archive(
    comparisons: Sequence[Comparison | Family], transfers: Sequence[Transfers], folder: Path
) -> None:
    """Write what a report follows from into a folder of runs: settings, logs and ranks."""
    runs = [run for one in (*comparisons, *transfers) for run in one.runs]
    files = [folder / COMMANDS for folder in stores_of(runs)]
    there = (one for one in files if one.is_file() and not one.is_symlink())
    earlier = "\n".join(read_whole(one).decode(errors="replace") for one in there).split("\n")
    lines = dict.fromkeys(filter(None, map(shared_line, [*earlier, *recorded(runs)])))
    write_whole(folder / COMMANDS, "".join(f"{line}\n" for line in lines).encode())
    for run in runs:
        names = [CONFIG, RESULT, *[LOG] * (read_log(run) is not None)]
        for source in (run.folder / name for name in names):
            # A link could lead to what nobody meant to publish.
            if source.is_symlink() and source.name in (CONFIG, RESULT):
                raise RequestError(f"{source} is a link, and an archive takes files only")
            if source.is_file() and not source.is_symlink():
                content = shared(source.name, read_whole(source, links=False))
                write_whole(folder / run.name / source.name, content)
        for kept in scores.whole(run.places, run.tested):
            if {kept.partner} <= {"", *(one.identity for one in runs)}:
                content = scores.encode(kept.reduced, str(run.tested.weights))
                write_whole(folder / run.name / scores.file_name(kept.name), content)
    by_runs: dict[tuple[str, ...], list[Measured]] = {}
    for comparison in comparisons:
        for one in (*comparison.measured, *comparison.fused):
            by_runs.setdefault(tuple(run.identity for run in one.runs), []).append(one)
    for found in by_runs.values():
        _keep_ranks(found, folder)


def _keep_ranks(found: Sequence[Measured], folder: Path) -> None:
    runs = found[0].runs
    images = next((one for run in runs if (one := listed_images(run)) is not None), None)
    if images is None or any(len(one.wrong) != len(images.ids) for one in found):
        leave_out(f"{runs[0].folder} has ranks, but not the list of their images: it is not kept")
        return
    measured = {f"{one.protocol}@{one.q}": one.ranks for one in found}
    took = {view.name: seconds(runs[0], view) for view in views_of(runs[0]) if len(runs) == 1}
    known = {name: value for name, value in took.items() if value is not None}
    names = "+".join(run.identity for run in runs)
    of = ranks.weights_of([run.tested for run in runs])
    kept = Kept(found[0].ranks.classes, images.short, names, of, measured, known)
    ranks.write(folder, kept, images)
