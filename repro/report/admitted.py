"""Which runs a report is made of: what is damaged is left out, with a line on standard error."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from repro.errors import RequestError, leave_out, one_line
from repro.protocol import protocols
from repro.report.deviations import deviations
from repro.report.measured import read_log, stores_of
from repro.report.settings import grouped
from repro.store import identity, ranks, scores, views
from repro.store import runs as store
from repro.store.archive import ARCHIVE, opened
from repro.store.runs import CONFIG, LOG, RESULT, Run

ADVICE = "make runs first, as in: python -m repro.run -m arch=A,B,C,D,E"


def folder_of_runs(folder: Path) -> Path:
    """The folder of runs that is meant, or that a report keeps; a RequestError says why none."""
    why = "is missing"
    if os.path.isfile(folder / CONFIG):
        raise RequestError(f"runs={folder!s:.300} is one run: name the folder that it lies in")
    try:
        if (folder / ARCHIVE).is_file():
            return opened(folder / ARCHIVE)
        if folder.is_dir():
            next(folder.iterdir(), None)
            return folder
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
    raise RequestError(f"runs={folder!s:.300} {why}: {ADVICE}")


def admitted(stores: Sequence[Path]) -> list[Run]:
    """The finished runs of folders, by name (of one name the first); a RequestError: none.

    Of the same net in several folders each number is of the first that has its views, else of the
    first that keeps its ranks.
    """
    runs: dict[str, Run] = {}
    for folder in stores:
        if not (found := store.finished(folder)):
            raise RequestError(f"runs={folder} holds no finished run: {ADVICE}")
        for run in found:
            first = runs.setdefault(run.name, run)
            if run.tested != first.tested:
                leave_out(f"{run.folder} has other weights or images than {first.folder} has")
            elif run is not first and run.tested.weights is not None:
                runs[run.name] = replace(first, copies=(*first.copies, run.folder))
    identity.tell_apart([(run.config, run.fingerprint) for run in runs.values()])
    whole = [run for _, run in sorted(runs.items()) if _describable(run)]
    there = []
    for runs_of in grouped(whole):
        counts = Counter((run.tested.images, run.tested.classes) for run in runs_of)
        lists = Counter(run.tested.listed for run in runs_of if run.tested.listed)
        # Older runs do not say which images these were: they agree with all.
        same = {None, *(listed for listed, _ in lists.most_common(1))}
        for run in runs_of:
            counted = run.tested.images, run.tested.classes
            if counted == counts.most_common(1)[0][0] and run.tested.listed in same:
                there.append(run)
            else:
                why = f"tested on {run.tested}, and most runs of its setting on other images"
                leave_out(f"{run.folder / RESULT}: {why}")
    if not there:
        folders = ",".join(map(str, stores))
        raise RequestError(f"runs={folders} holds no finished run that is whole: {ADVICE}")
    for line in _damaged(there, stores):
        leave_out(line)
    return there


def _describable(run: Run) -> bool:
    """Whether its configuration is that of a net, tested in ways that there are."""
    config = run.config
    try:
        protocols.check(config.scale, config.test, config.size.crop, config.boxes)
        if run.published is None:
            deviations(run)
    except (RequestError, ValueError, LookupError, ArithmeticError, TypeError) as error:
        leave_out(f"{run.folder / CONFIG}: {one_line(error)}")
        return False
    return True


def _damaged(runs: Sequence[Run], stores: Sequence[Path]) -> Iterator[str]:
    """A line for each file of the runs that the report is made without."""
    for run in runs:
        if run.config.data.transfer:
            # Those of other runs are checked where they are measured.
            yield from (line for one in run.places for line in views.damaged(one, run.tested))
        for place, test in ((one, test) for one in run.places for test in scores.stored(one)):
            try:
                scores.read(place, test, run.tested)
            except RequestError as error:
                yield str(error)
        if os.path.lexists(run.folder / LOG) and run.result["epochs"] and read_log(run) is None:
            yield f"{run.folder / LOG} is damaged: it is another, or no row of numbers an epoch"
    every = {run.identity: run for run in runs}
    for folder in stores:
        for file in sorted((folder / ranks.FOLDER).glob("*.npz")):
            identities = file.stem.split("+")
            try:
                them = [every[one] for one in identities if one in every]
                # Of another net of that name, in another store, they are not asked.
                own = all(folder in stores_of([one]) for one in them)
                if len(them) == len(identities) and own:
                    ranks.read(folder, identities, [one.tested for one in them])
            except RequestError as error:
                yield str(error)
        for file in sorted((folder / ranks.FOLDER).glob("images-*.csv")):
            try:
                ranks.images(folder, file.stem.partition("-")[2])
            except RequestError as error:
                yield str(error)
