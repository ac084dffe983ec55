"""Writing a report: beside its place first, so that it appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from repro.analysis.answer import answer
from repro.analysis.archive import keep
from repro.analysis.claims import COLUMNS as CLAIMS
from repro.analysis.html import APPENDIX, html
from repro.analysis.measured import members, results
from repro.analysis.page import Part, in_order, markdown, table_markdown
from repro.analysis.settings import Comparison, by_setting
from repro.errors import RequestError, RunError
from repro.store import runs as store
from repro.store.views import damaged

RUNS = "runs"
"""In a report: what was kept of the runs that it is made from."""
CONTENT = {
    *("comparison.md", "comparison.html", APPENDIX),
    *("results.csv", "claims.csv", "tables", "figures", RUNS),
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
        RequestError: no store, no finished run, or `out` is a folder with something else in it.
        RunError: the report could not be written.
    """
    out = Path(os.path.abspath(out))
    _check_out(out, archive)
    stores = [_store(folder) for folder in stores]
    comparisons = by_setting(_finished(stores), fuse)
    _check_fuse(fuse, comparisons)
    unfinished = [row for folder in stores for row in store.unfinished(folder)]
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        beside.mkdir(parents=True)
        if archive:
            keep(comparisons, beside / RUNS)
            comparisons = by_setting(_finished([beside / RUNS]), fuse)
            unfinished = []
        parts = _parts(comparisons)
        numbers = [row for one in comparisons for row in (*one.measured, *one.fused)]
        results(numbers).to_csv(beside / "results.csv", index=False)
        _claims(parts).to_csv(beside / "claims.csv", index=False)
        for part in parts:
            _write_part(part, beside)
        page, appendix = markdown(parts, unfinished)
        (beside / "comparison.md").write_text(page, encoding="utf-8")
        (beside / APPENDIX).write_text(appendix, encoding="utf-8")
        (beside / "comparison.html").write_text(html(page, appendix, beside), encoding="utf-8")
        _put(beside, out)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    summaries = "\n\n".join(
        f"{part.setting}\n{_summary(part)}\n{answer(part.claims, part.comparison)}"
        for part in parts
    )
    return f"{summaries}\n\n{(out / 'comparison.html').resolve()}"


def _store(folder: Path) -> Path:
    """The folder of runs that is meant: a report that holds what was kept of runs is one too."""
    inside = folder / RUNS
    return inside if (folder / "comparison.md").is_file() and inside.is_dir() else folder


def _parts(comparisons: Sequence[Comparison]) -> list[Part]:
    several = len(comparisons) > 1
    return in_order([Part(one, f"{one.setting.slug}-" if several else "") for one in comparisons])


def _check_out(out: Path, archive: bool) -> None:
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if RUNS in held and not archive:
        raise RequestError(
            f"out={out} holds {RUNS}/, what was kept of runs: archive=true keeps them, "
            "or name another folder"
        )
    foreign = sorted(held - CONTENT) or (sorted(held) if "comparison.md" not in held else [])
    if foreign:
        raise RequestError(
            f"out={out} holds {foreign[0]}, which is not a report's: name another folder"
        )
    if out.exists() and not out.is_dir():
        raise RequestError(f"out={out} is a file: name a folder")


def _check_fuse(fuse: Sequence[str], comparisons: Sequence[Comparison]) -> None:
    settings = [{one.net for one in comparison.measured} for comparison in comparisons]
    known = set().union(*settings)
    for ensemble in fuse:
        nets = members(ensemble)
        if len(set(nets)) < max(2, len(nets)):
            raise RequestError(f"fuse={ensemble}: expected two nets or more, each once, as NET+NET")
        for member in nets:
            if member not in known:
                names = ", ".join(sorted(known))
                raise RequestError(f"fuse={ensemble}: there is no tested net {member}, but {names}")
        if not any(set(nets) <= setting for setting in settings):
            raise RequestError(f"fuse={ensemble}: no setting (data, size, recipe) has all of these")
        fused = [set(members(one.net)) for comparison in comparisons for one in comparison.fused]
        if set(nets) not in fused:
            raise RequestError(f"fuse={ensemble}: these have no seed and no protocol in common")


def _finished(stores: Sequence[Path]) -> list[store.Run]:
    advice = "make runs first, as in: python -m repro.run -m arch=A,B,C,D,E"
    runs: dict[str, store.Run] = {}
    for folder in stores:
        if not folder.is_dir():
            raise RequestError(f"runs={folder} is missing: {advice}")
        found = store.finished(folder)
        if not found:
            raise RequestError(f"runs={folder} holds no finished run: {advice}")
        runs = {run.name: run for run in found} | runs
    for run in runs.values():
        for line in damaged(run.folder):
            print(f"left out: {line}", file=sys.stderr)
    return [runs[name] for name in sorted(runs)]


def _claims(parts: Sequence[Part]) -> pd.DataFrame:
    frames = [part.claims for part in parts if len(part.claims)]
    return pd.concat(frames) if frames else pd.DataFrame(columns=CLAIMS)


def _write_part(part: Part, folder: Path) -> None:
    (folder / "tables").mkdir(exist_ok=True)
    (folder / "figures").mkdir(exist_ok=True)
    for name, frame in part.frames.items():
        if frame.empty:
            continue
        base = folder / "tables" / f"{part.prefix}{name}"
        frame.to_csv(base.with_suffix(".csv"), index=False)
        base.with_suffix(".md").write_text(f"{table_markdown(frame)}\n", encoding="utf-8")
        style = frame.style.hide(axis="index").format(escape="latex")
        style = style.format_index(escape="latex", axis="columns")
        base.with_suffix(".tex").write_text(style.to_latex(hrules=True), encoding="utf-8")
    for drawn in part.drawn:
        base = folder / "figures" / f"{part.prefix}{drawn.name}"
        base.with_suffix(".png").write_bytes(drawn.png)
        base.with_suffix(".svg").write_bytes(drawn.svg)


def _summary(part: Part) -> str:
    frame = part.frames["summary"]
    return frame.to_string(index=False)


def _put(beside: Path, out: Path) -> None:
    """Let the new report take the place of an older one."""
    old = out.with_name(f".{out.name}.old-{secrets.token_hex(4)}")
    if out.exists():
        out.rename(old)
    try:
        beside.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
