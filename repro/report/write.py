"""Writing a report: beside its place first, so that it appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd

from repro.errors import RequestError, RunError
from repro.report import published_nets
from repro.report.admitted import RUNS, admitted, folder_of_runs, shortened
from repro.report.answer import answer
from repro.report.archive import keep
from repro.report.claims import COLUMNS as CLAIMS
from repro.report.drawing import Drawn
from repro.report.html import APPENDIX, html
from repro.report.measured import results
from repro.report.net import members, named
from repro.report.page import Part, in_order, markdown, table_markdown
from repro.report.preprocessing import Shown
from repro.report.published_nets import Family
from repro.report.settings import Comparison, by_setting
from repro.store import runs as store
from repro.store.archive import ARCHIVE, opened, pack
from repro.store.identity import tell_apart
from repro.store.runs import Run

CONTENT = {
    *("comparison.md", "comparison.html", APPENDIX),
    *("results.csv", "claims.csv", "tables", "figures", ARCHIVE, RUNS),
}
"""What a report's folder holds; one that holds more is not replaced."""


def write(
    stores: Sequence[Path], out: Path, fuse: Sequence[str] = (), archive: bool = False
) -> str:
    """Write the report of all finished runs of some stores.

    Args:
        stores: folders of runs, or reports that hold what was kept of runs; what stands in
            several is taken from the first.
        out: the folder that becomes the report.
        fuse: ensembles to compute beside the paper's, as in `D-jitter+E-jitter`.
        archive: also keep in the report what it is made from (see `repro.store.ranks`), and make
            it from that.

    Returns:
        What to tell the user: the summary and where the page lies.

    Raises:
        RequestError: no store, no finished run, or `out` is a folder with something else in it
            or cannot be written to.
        RunError: the report could not be written.
    """
    stores = [folder_of_runs(folder) for folder in stores]
    # Of a link, the folder that it stands for.
    out = Path(os.path.realpath(out))
    _check_out(out, archive, stores)
    with _beside(out) as beside:
        comparisons, others = _parted(admitted(stores), fuse)
        _check_fuse(fuse, comparisons)
        unfinished = [] if archive else _unfinished(stores)
        try:
            if archive:
                keep([*comparisons, *others], beside / RUNS)
                pack(beside / RUNS, beside / ARCHIVE)
                shutil.rmtree(beside / RUNS)
                # They were admitted by their views; what was just written needs no second look.
                kept = store.finished(opened(beside / ARCHIVE))
                tell_apart([run.config for run in kept])
                comparisons, others = _parted(kept, fuse)
            parts = _parts(comparisons)
            _write_all(comparisons, parts, others, unfinished, beside)
            _put(beside, out)
        except OSError as error:
            raise RunError(f"cannot write {out}: {error.strerror}") from error
    summaries = "\n\n".join(
        f"{part.setting}\n{_summary(part)}\n{answer(part.claims, part.comparison)}"
        for part in parts
    )
    if others:
        shown = published_nets.table(others).to_string(index=False)
        summaries = f"{summaries}\n\npublished nets\n{shown}".strip()
    return f"{summaries}\n\n{(out / 'comparison.html').resolve()}"


def _parted(runs: Sequence[Run], fuse: Sequence[str]) -> tuple[list[Comparison], list[Family]]:
    """The nets that were trained here, and those that others trained."""
    own = [run for run in runs if run.published is None]
    others = [run for run in runs if run.published is not None]
    return by_setting(own, fuse), published_nets.families(others)


def _unfinished(stores: Sequence[Path]) -> list[tuple[str, str]]:
    """The runs that no store has finished, each once."""
    done = set[str]().union(*map(store.names, stores))
    rows = {
        name: reason for folder in reversed(stores) for name, reason in store.unfinished(folder)
    }
    return sorted((name, reason) for name, reason in rows.items() if name not in done)


def _parts(comparisons: Sequence[Comparison]) -> list[Part]:
    several = len(comparisons) > 1
    return in_order([Part(one, f"{one.setting.slug}-" if several else "") for one in comparisons])


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """The folder in which a report is made; made before the work, for it may not be possible."""
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    around: list[Path] = []
    try:
        try:
            around = [folder for folder in out.parents if not folder.exists()]
            beside.mkdir(parents=True)
        except OSError as error:
            raise RequestError(
                f"out={shortened(out)} cannot be written to: {error.strerror}; name another folder"
            ) from None
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        for folder in around:
            # It holds the report, unless there is none.
            with suppress(OSError):
                folder.rmdir()


def _check_out(out: Path, archive: bool, stores: Sequence[Path]) -> None:
    try:
        held = {path.name for path in out.iterdir()} if out.is_dir() else set()
        other = out.exists() and not out.is_dir()
    except OSError as error:
        raise RequestError(
            f"out={shortened(out)} cannot be read: {error.strerror}; name another folder"
        ) from None
    if other:
        raise RequestError(f"out={out} is a file: name a folder")
    if held & {ARCHIVE, RUNS} and not archive:
        raise RequestError(
            f"out={out} holds {ARCHIVE}, what was kept of runs: archive=true keeps them, "
            "or name another folder"
        )
    there = opened(out / ARCHIVE) if ARCHIVE in held else out / RUNS
    lost = store.names(there) - set[str]().union(*map(store.names, stores))
    if archive and lost:
        raise RequestError(
            f"out={out} keeps {min(lost)}, which runs= does not name: add {out} to runs=, or name "
            "another folder"
        )
    foreign = sorted(held - CONTENT) or (sorted(held) if "comparison.md" not in held else [])
    if foreign:
        raise RequestError(
            f"out={out} holds {foreign[0]}, which is not a report's: name another folder"
        )


def _check_fuse(fuse: Sequence[str], comparisons: Sequence[Comparison]) -> None:
    tested = [(one, {each.net for each in one.measured}) for one in comparisons]
    known = {net for comparison in comparisons for net in comparison.nets}
    for words in fuse:
        try:
            nets = members(named(words, known))
        except RequestError as error:
            raise RequestError(f"fuse={words}: {error}") from None
        if len(set(nets)) < max(2, len(nets)):
            raise RequestError(f"fuse={words}: expected two nets or more, each once, as NET+NET")
        there = [[one.plain(net) in own for net in nets] for one, own in tested]
        for net, found in zip(nets, zip(*there, strict=True), strict=True):
            if not any(found):
                names = ", ".join(map(str, sorted(set().union(*(own for _, own in tested)))))
                raise RequestError(f"fuse={words}: there is no tested net {net}, but {names}")
        if not any(map(all, there)):
            raise RequestError(f"fuse={words}: no setting (data, size, recipe) has all of these")
        if not any(set(nets) == set(members(f.net)) for one in comparisons for f in one.fused):
            raise RequestError(f"fuse={words}: these have no seed and no protocol in common")


def _write_all(
    comparisons: Sequence[Comparison],
    parts: Sequence[Part],
    others: Sequence[Family],
    unfinished: list[tuple[str, str]],
    folder: Path,
) -> None:
    every: list[Comparison | Family] = [*comparisons, *others]
    numbers = [row for one in every for row in (*one.measured, *one.fused)]
    results(numbers).to_csv(folder / "results.csv", index=False)
    _claims(parts).to_csv(folder / "claims.csv", index=False)
    for part in parts:
        _write_part(part, folder)
    if others:
        (folder / "tables").mkdir(exist_ok=True)
        _write_table(published_nets.table(others), folder / "tables" / "published-nets")
    ways = Shown(published_nets.by_other_ways(others))
    _write_ways(ways, folder)
    page, appendix = markdown(parts, (others, ways), unfinished)
    (folder / "comparison.md").write_text(page, encoding="utf-8")
    (folder / APPENDIX).write_text(appendix, encoding="utf-8")
    (folder / "comparison.html").write_text(html(page, appendix, folder), encoding="utf-8")


def _claims(parts: Sequence[Part]) -> pd.DataFrame:
    frames = [part.claims for part in parts if len(part.claims)]
    return pd.concat(frames) if frames else pd.DataFrame(columns=CLAIMS)


def _write_part(part: Part, folder: Path) -> None:
    (folder / "tables").mkdir(exist_ok=True)
    (folder / "figures").mkdir(exist_ok=True)
    for name, frame in part.frames.items():
        if frame.empty:
            continue
        _write_table(frame, folder / "tables" / f"{part.prefix}{name}")
    for drawn in part.drawn:
        _write_figure(drawn, folder, part.prefix)


def _write_ways(ways: Shown, folder: Path) -> None:
    if ways.figure is None:
        return
    _write_table(ways.table, folder / "tables" / ways.figure.name)
    (folder / "figures").mkdir(exist_ok=True)
    _write_figure(ways.figure, folder)


def _write_figure(drawn: Drawn, folder: Path, prefix: str = "") -> None:
    base = folder / "figures" / f"{prefix}{drawn.name}"
    base.with_suffix(".png").write_bytes(drawn.png)
    base.with_suffix(".svg").write_bytes(drawn.svg)


def _write_table(frame: pd.DataFrame, base: Path) -> None:
    frame.to_csv(base.with_suffix(".csv"), index=False)
    base.with_suffix(".md").write_text(f"{table_markdown(frame)}\n", encoding="utf-8")
    style = frame.style.hide(axis="index").format(escape="latex")
    style = style.format_index(escape="latex", axis="columns")
    base.with_suffix(".tex").write_text(style.to_latex(hrules=True), encoding="utf-8")


def _summary(part: Part) -> str:
    frame = part.frames["summary"]
    return frame.to_string(index=False)


def _put(beside: Path, out: Path) -> None:
    """Let the new report take the place of an older one."""
    # No longer than the name of `beside`, which the file system took.
    old = out.with_name(f".{out.name}.old-{secrets.token_hex(2)}")
    if out.exists():
        out.rename(old)
    try:
        beside.rename(out)
    except BaseException:
        # Interrupted, too, it puts back what was there.
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
