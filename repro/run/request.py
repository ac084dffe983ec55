"""A run that is wanted: its identity, what is there of it, and what is missing."""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from repro.config.schema import NEW, Config
from repro.data.split import Description
from repro.errors import RequestError
from repro.model import layers
from repro.protocol import protocols
from repro.run.weights import WeightFile
from repro.store import boxes, identity, runs, scores, views
from repro.store.expected import Expected
from repro.store.identity import PUBLISHED
from repro.store.leases import LOCKS


@dataclass(frozen=True)
class Request:
    """One run that is wanted, and the views of it."""

    config: Config
    net: layers.Spec
    description: Description
    parents: "dict[str, Request]"
    """The runs that this one starts from: `scale`, `init` or `boxes`."""
    identity: str
    views: tuple[protocols.View, ...]
    published: WeightFile | None = None
    """The weights that others trained, where the run tests these."""
    command: tuple[str, ...] | None = None
    """The words of the command that asks for this run, or for one that starts from it."""
    partner: runs.Run | None = None
    """The run whose descriptors are stacked with this one's."""

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return identity.name(self.config, self.identity)

    @property
    def folder(self) -> Path:
        """Where the run lies or will lie."""
        return Path(self.config.runs) / self.name

    @property
    def series(self) -> int:
        """Which series of its seed's random draws it trains by: that of its parent, or the next."""
        before = max((parent.series for parent in self.parents.values()), default=0)
        return before + (self.config.scale.draws == NEW)

    @property
    def record(self) -> dict[str, Any]:
        """The record beside the configuration in the run's `config.yaml`."""
        published = {} if self.published is None else {PUBLISHED: self.published.record}
        command = {} if self.command is None else {"command": list(self.command)}
        return {
            "identity": self.identity,
            "parents": {role: parent.identity for role, parent in self.parents.items()},
            "fingerprint": self.description.fingerprint,
            "schema": identity.SCHEMA,
            **command,
            **published,
        }

    def missing_views(self, tested: Expected | None = None) -> list[protocols.View]:
        """The wanted views that are not stored, or not of what was tested (None: as recorded)."""
        if tested is None:
            if (result := runs.read_result(self.folder)) is None:
                # What is there is of a net that will be trained anew.
                return list(self.views)
            tested = Expected.of(result)
        return views.missing(self.folder, self.views, tested)

    @property
    def scored(self) -> tuple[str, ...]:
        """The names of the tests of descriptors that are wanted (`repro.store.scores`)."""
        if not self.config.data.transfer:
            return ()
        after = f"+{self.partner.identity}" if self.partner else ""
        return tuple(f"{test}{after}" for test in self.config.test)

    def missing_scores(self, tested: Expected) -> list[str]:
        """Those of them that are not stored, are damaged, or are with other partner's weights."""
        missing, partner = list(self.scored), self.partner.tested.weights if self.partner else ""
        for test in self.scored:
            with suppress(RequestError):
                found = scores.read(self.folder, test, tested)
                if found is not None and found.partner_weights == partner:
                    missing.remove(test)
        return missing

    def finished(self) -> bool:
        """Training has ended, every wanted view that the net can give is stored, all is tidy."""
        try:
            result = runs.read_result(self.folder)
        except RequestError:
            # `check_folder` says what is to be done about it.
            return False
        if result is None or self.has_checkpoint():
            return False
        tested = Expected.of(result)
        missing = self.missing_views(tested) or self.missing_scores(tested)
        return result["outcome"] == "diverged" or not missing

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint."""
        return any((self.folder / name).is_file() for name in runs.CHECKPOINTS)

    def check_folder(self) -> None:
        """Refuse, with a RequestError, what stands in the run's place and is not it, or damaged."""
        if self.folder.exists():
            runs.check_folder(self.folder)
        if (lock := self.folder.parent / LOCKS / f"{self.name}.lock").is_dir():
            raise RequestError(f"{lock} is a folder where a file belongs: move it away")

    def state(self) -> str:
        """How far the run has come: `new`, `goes on`, `trained, views missing` or `finished`."""
        if self.finished():
            return "finished"
        if self.has_checkpoint():
            return "goes on"
        return "trained, views missing" if (self.folder / runs.RESULT).is_file() else "new"

    def lineage(self, gone: bool = False) -> "Iterator[Request]":
        """The runs to be done, parents first, this one last.

        A parent that was deleted is needed no more once a net is trained, unless to score boxes;
        with `gone` it is given all the same.
        """
        with suppress(RequestError):
            trained = runs.read_result(self.folder) is not None
            for role, parent in self.parents.items():
                needed = not trained or (role == "boxes" and not self.finished())
                if gone or needed or parent.folder.exists():
                    yield from parent.lineage(gone)
        yield self


def members(requests: Iterable[Request]) -> list[Request]:
    """All runs to be done, parents first, each once with all views that are wanted of it."""
    found: dict[Path, Request] = {}
    for request in requests:
        for member in request.lineage():
            known = found[member.folder].views if member.folder in found else ()
            views = tuple(dict.fromkeys((*known, *member.views)))
            found[member.folder] = dataclasses.replace(member, views=views)
    return list(found.values())


def summary(request: Request) -> str:
    """How training ended, and the errors (%) of a finished run with their 95% intervals."""
    result = runs.read_result(request.folder)
    if result is None:
        raise RequestError(f"{request.folder} is not finished")
    line, error = f"{request.name}: {result['outcome']}", result["validation_error"]
    line += "" if result["outcome"] == "trained" else f" ({result['reason']})"
    line += "" if error is None else f", validation error {error:.1f}%"
    tested = Expected.of(result)
    for protocol, found in _tested(request, tested):
        low, error, high = views.interval(found)
        line += f"; {protocol} test error {error:.1f}% [{low:.1f}; {high:.1f}]"
    for test in request.scored:
        if (scored := scores.read(request.folder, test, tested)) is not None:
            for metric, values in scored.errors.items():
                each = ", ".join(f"{value:.1f}" for value in values)
                line += f"; {test} {metric} {values.mean():.1f}% (splits: {each})"
    return line


def test_errors(request: Request, tested: Expected) -> dict[str, float]:
    """The errors (%) on the test images, by protocol, as far as tested."""
    return {name: float(100 * found.mean()) for name, found in _tested(request, tested)}


def _tested(request: Request, tested: Expected) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The errors (images,) of each protocol that gives one number, as far as it is tested."""
    folder = request.folder
    for protocol in protocols.of(request.config.boxes):
        wanted = protocols.views(protocol, request.config)
        if protocol in protocols.BOXES:
            with suppress(views.Absent):
                union = boxes.union([views.located(folder, view, tested) for view in wanted])
                yield protocol, union.wrong(protocols.PROTOCOLS[protocol].constant)
        elif protocol in protocols.ONE_NUMBER and (found := views.mean_of(folder, wanted, tested)):
            yield protocol, views.wrong(found, 1)
