"""Writing a report: beside its place first, so that it appears whole or not at all."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

import pandas as pd
from markdown.extensions.toc import slugify, unique

from repro.errors import RequestError, RunError, noting
from repro.report import table11, tables, transfer, transfer_claims, wording
from repro.report.admitted import admitted, folder_of_runs
from repro.report.archiving import packed
from repro.report.claims import COLUMNS, judge
from repro.report.drawing import Drawers
from repro.report.marks import Chart
from repro.report.measured import results
from repro.report.net import members, named
from repro.report.page import Part, html, markdown
from repro.report.settings import Comparison, Family, families, grouped, titles
from repro.report.transfer import Transfers
from repro.store import runs as store
from repro.store.archive import ARCHIVE, contents, opened
from repro.store.files import DAY
from repro.store.runs import Run

CONTENT = {"comparison.md", "comparison.html", "results.csv", "claims.csv", "tables", "figures"}
"""The files of a report beside an archive; a folder that holds more is not replaced."""
DRAWN = {".png", ".csv", ".tex"}
"""The endings of what a report has in its folders."""


def write(
    stores: Sequence[Path],
    out: Path,
    fuse: Sequence[str] = (),
    archive: bool = False,
    latex: bool = False,
) -> str:
    """Write the report of all finished runs of some stores; returns what to tell the user.

    Of runs that stand in several stores, or reports that keep some, the first count. Raises
    RequestError where `out` or a store cannot serve, RunError where writing fails.
    """
    out = Path(os.path.realpath(out))
    # First, since one of the stores may be the report that it puts back.
    _check_out(out, archive)
    given, stores = stores, [folder_of_runs(folder) for folder in stores]
    pairs = zip(stores, given, strict=True)
    called = {str(place): str(one / ARCHIVE) for place, one in pairs if place != one}
    with _beside(out) as beside, noting(called) as left_out, Drawers(beside / "figures") as drawers:
        comparisons, others, transfers = parted(admitted(stores), fuse)
        _check_fuse(fuse, comparisons)
        done = set[str]().union(*map(store.names, stores))
        rows = () if archive else (row for one in reversed(stores) for row in store.unfinished(one))
        unfinished = sorted((name, why) for name, why in dict(rows).items() if name not in done)
        try:
            if archive:
                if (out / ARCHIVE).is_file():
                    called[str(opened(out / ARCHIVE))] = str(out / ARCHIVE)
                runs = packed([*comparisons, *others], transfers, beside)
                _check_kept(beside, out)
                comparisons, others, transfers = parted(runs, fuse)
            parts = _parts(comparisons)
            drawn = [(part.prefix, one) for part in parts for one in part.figures.values()]
            pictures = table11.charts(transfers)
            drawn += [("", one) for one in pictures]
            drawers.draw({f"{prefix}{one.name}.png": one for prefix, one in drawn})
            absent = unfinished, left_out
            frames = _write_all(parts, others, transfers, pictures, absent, beside, latex)
            drawers.wait()
            _write_page(beside)
            _put(beside, out)
        except OSError as error:
            raise RunError(f"cannot write {out}: {error.strerror}") from error
    return "\n\n".join([*_said(parts, frames), str(out / "comparison.html")])


def _said(parts: Sequence[Part], frames: Mapping[str, pd.DataFrame]) -> list[str]:
    """What a report found, for the terminal."""
    words = [f"{one.title}\n{wording.summary(one.comparison)}\n{one.answer}" for one in parts]
    shown = {"published nets": wording.readable(frames["published-nets"])}
    shown["descriptors on other data (%)"] = table11.shown(frames["table11"])
    return words + [
        f"{name}\n{one.to_string(index=False)}" for name, one in shown.items() if len(one)
    ]


def parted(
    runs: Sequence[Run], fuse: Sequence[str] = ()
) -> tuple[list[Comparison], list[Family], list[Transfers]]:
    """The nets trained here, those that others trained, and those tested on other data."""
    given = [run for run in runs if run.published and not run.config.data.transfer]
    own = grouped([run for run in runs if run.published is None])
    transfers = grouped([run for run in runs if run.config.data.transfer])
    return [Comparison(o, fuse) for o in own], families(given), [Transfers(o) for o in transfers]


def _parts(comparisons: Sequence[Comparison]) -> list[Part]:
    """The settings as the page has them: the one that answers most claims comes first."""
    names, several = titles([one.setting for one in comparisons]), len(comparisons) > 1
    settings = list(zip(comparisons, names, judge(comparisons), strict=True))
    settings.sort(key=lambda one: -len(one[2]))
    taken = set[str]()
    anchors = [unique(slugify(title, "-"), taken) for _, title, _ in settings]
    return [Part(*one, at, several) for one, at in zip(settings, anchors, strict=True)]


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """The folder in which a report is made; made before the work, for it may not be possible."""
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    for left in out.parent.glob(f".{escape(out.name)}.{'[0-9a-f]' * 8}"):
        # A process that was killed a while ago left it.
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > DAY:
                shutil.rmtree(left)
    around = [folder for folder in out.parents if not os.path.exists(folder)]
    try:
        try:
            beside.mkdir(parents=True)
        except OSError as error:
            raise _unusable(out, f"cannot be written to: {error.strerror}") from None
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        for folder in around:
            # It holds the report, unless there is none.
            with suppress(OSError):
                folder.rmdir()


def _unusable(out: Path, why: str) -> RequestError:
    return RequestError(f"out={out!s:.300} {why}; name another folder")


def _check_out(out: Path, archive: bool) -> None:
    """Refuse a place that is no folder, holds what no report writes, or an archive to be lost."""
    store.check_outside(out)
    # What processes left that were killed as they put a report in another's place.
    left = list(out.parent.glob(f".{escape(out.name)}.old-{'[0-9a-f]' * 4}"))
    if os.path.lexists(out):
        for one in left:
            if lost := _lost(one, out):
                said = f"{one} is of a report that was killed and keeps {lost}"
                raise RequestError(f"{said}: move it away, or remove its {ARCHIVE}")
            shutil.rmtree(one, ignore_errors=True)
    elif whole := [one for one in left if (one / "comparison.md").is_file()]:
        with suppress(OSError):
            max(whole, key=lambda one: one.stat().st_mtime).rename(out)
    try:
        held = {path.name for path in out.iterdir()} if out.exists() else set()
        kept = (path for path in out.glob("*/*") if path.suffix not in DRAWN)
        held |= {str(path.relative_to(out)) for path in kept}
    except OSError as error:
        raise _unusable(out, f"cannot be read: {error.strerror}") from None
    foreign = held - CONTENT - {ARCHIVE} or (held if "comparison.md" not in held else None)
    if foreign:
        raise _unusable(out, f"holds {min(foreign)}, which is not a report's")
    if ARCHIVE in held and not archive:
        raise _unusable(out, f"keeps {ARCHIVE}, which would be lost: give archive=true")


def _check_fuse(fuse: Sequence[str], comparisons: Sequence[Comparison]) -> None:
    fused = [one for comparison in comparisons for one in comparison.fused]
    ensembles = [sorted(map(str, members(one.net))) for one in fused]
    there = {str(net): net for comparison in comparisons for net in comparison.nets}
    for words in fuse:
        try:
            wanted = sorted(map(str, members(named(words, there.values()))))
        except RequestError:
            wanted = words.split("+")
        if absent := [name for name in wanted if name not in there]:
            said = f"no finished run of {', '.join(absent)}: there are {', '.join(sorted(there))}"
        elif wanted not in ensembles or len(set(wanted)) < max(2, len(wanted)):
            said = "expected several nets, each once, of one setting, seed and protocol, as NET+NET"
        else:
            continue
        raise RequestError(f"fuse={words}: {said}")


def _write_all(
    parts: Sequence[Part],
    others: Sequence[Family],
    transfers: Sequence[Transfers],
    pictures: Sequence[Chart],
    absent: tuple[Sequence[tuple[str, str]], Sequence[str]],
    folder: Path,
    latex: bool,
) -> dict[str, pd.DataFrame]:
    """Write the numbers and the text of a report; its tables by their names."""
    every: list[Comparison | Family] = [*(part.comparison for part in parts), *others]
    tidy(every, transfers).to_csv(folder / "results.csv", index=False)
    on_descriptors = transfer_claims.judge(transfers)
    judged = [one for one in (*(part.claims for part in parts), on_descriptors) if len(one)]
    claims = pd.concat(judged) if judged else pd.DataFrame(columns=COLUMNS)
    claims.to_csv(folder / "claims.csv", index=False)
    own = [(part.prefix, *one) for part in parts for one in part.tables.items()]
    frames = {f"{prefix}{name}": frame for prefix, name, frame in own}
    frames |= {"published-nets": tables.published(others)}
    frames |= {"table11": table11.table(transfers)}
    frames |= {"depth-gains": tables.depth_gains(), "replications": tables.replications()}
    _write_tables(frames, folder / "tables", latex)
    descriptors = frames["table11"], on_descriptors, pictures
    page = markdown(parts, others, *absent, transfers, descriptors)
    (folder / "comparison.md").write_text(page, encoding="utf-8")
    return frames


def _write_page(folder: Path) -> None:
    """Write the page in one file, from its text and its figures."""
    page = (folder / "comparison.md").read_text(encoding="utf-8")
    pictures = {one.name: one.read_bytes() for one in (folder / "figures").iterdir()}
    (folder / "comparison.html").write_text(html(page, pictures), encoding="utf-8")


def _write_tables(frames: Mapping[str, pd.DataFrame], folder: Path, latex: bool) -> None:
    folder.mkdir()
    for name, frame in ((name, frame) for name, frame in frames.items() if len(frame)):
        frame.to_csv(folder / f"{name}.csv", index=False)
        if latex:
            style = wording.readable(frame).style.hide(axis="index").format(escape="latex")
            style = style.format_index(escape="latex", axis="columns")
            style.to_latex(folder / f"{name}.tex", hrules=True, encoding="utf-8")


def tidy(
    comparisons: Sequence[Comparison | Family], transfers: Sequence[Transfers]
) -> pd.DataFrame:
    """The table `results.csv`: a row for each number."""
    numbers = [row for one in comparisons for row in (*one.measured, *one.fused)]
    frames = [one for one in (results(numbers), transfer.results(transfers)) if len(one)]
    every = pd.concat(frames) if frames else results(numbers)
    return every.sort_values(list(every.columns)).reset_index(drop=True)


def _put(beside: Path, out: Path) -> None:
    """Let the new report take the place of an older one."""
    # Another process may have put one there meanwhile.
    _check_kept(beside, out)
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


def _check_kept(beside: Path, out: Path) -> None:
    """Refuse to replace an archive by one that lacks what it keeps."""
    if lost := _lost(out, beside):
        way_out = f"let runs= begin with {out}, or remove {out / ARCHIVE}"
        raise _unusable(out, f"keeps {lost}, which would be lost: {way_out}")


def _lost(old: Path, new: Path) -> str:
    """What the archive of one report keeps and that of another does not; empty: nothing."""
    kept = [
        contents(opened(one / ARCHIVE)) if (one / ARCHIVE).is_file() else frozenset[str]()
        for one in (old, new)
    ]
    return min(kept[0] - kept[1], default="")
