"""A run's folder while it is written: one process holds it, and each write checks that it does."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from repro.config.schema import Config
from repro.errors import RunError
from repro.store.expected import RESULT_DIGEST, sha256
from repro.store.files import Content, read_whole, remove_leftovers, write_whole
from repro.store.leases import LOCKS, first_free, holder
from repro.store.ranks import FOLDER as RANKS
from repro.store.runs import (
    CONFIG,
    EVENTS,
    FAILED,
    LOG,
    RECORD,
    RESULT,
    WEIGHTS,
    as_json,
    as_yaml,
    digest_of,
)
from repro.store.scores import BEGIN


class Folder:
    """A run's folder while it is held: `check` raises if not, `allowed` looks before each write."""

    def __init__(
        self, path: Path, check: Callable[[], None], allowed: Callable[[], None] | None = None
    ) -> None:
        self.path, self.check = path, check
        self._stood = path.is_dir()
        self._allowed = allowed or check

    def write(self, name: str, content: Content) -> None:
        """Put a file into the folder, whole; a RunError says why it cannot (see `write_whole`)."""
        # Before, too: what is gone is not made anew on the disk below where it was mounted.
        self._allowed()
        if self._stood and not self.path.is_dir():
            raise RunError(f"{self.path} is gone: it was deleted or moved while the run worked")
        write_whole(self.path / name, content, self._allowed)
        self._stood = True

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Put a JSON file into the folder, whole."""
        self.write(name, as_json(content))

    def write_result(self, result: dict[str, Any]) -> dict[str, Any]:
        """Write, and return, how training ended: with the digests of the log and of itself."""
        digests = dict(result.get("digests", {}))
        if (self.path / LOG).is_file():
            digests["log"] = sha256(read_whole(self.path / LOG))
        result = result | {"digests": digests}
        # As it is read: JSON has no tuples, and its keys are texts.
        digests[RESULT_DIGEST] = digest_of(json.loads(json.dumps(result)))
        self.write_json(RESULT, result)
        return result

    def write_config(self, config: Config, record: dict[str, Any]) -> None:
        """Say what the run is: the first file of a folder."""
        self.write(CONFIG, as_yaml(asdict(config) | {RECORD: record}))

    def begin(self) -> None:
        """Remove what an earlier attempt left: why it failed, and files that it was writing."""
        self.remove(FAILED)
        remove_leftovers(self.path)

    def forget(self) -> None:
        """Remove what belongs to a net that is trained anew, so that no two are ever mixed."""
        found = [*self.path.glob("views/*.npz"), *self.path.glob(f"{BEGIN}*.npz")]
        found += self.path.glob(EVENTS)
        # Of an archive that was unpacked.
        found += (self.path.parent / RANKS).glob(f"*{self.path.name.rpartition('-')[2]}*.npz")
        for name in (WEIGHTS, LOG, *(str(path.absolute()) for path in found)):
            self.remove(name)

    def remove(self, name: str) -> None:
        """Remove a file of the folder, if it is there."""
        self._allowed()
        path = self.path / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"cannot remove {path}: {error.strerror or error}") from error


class Watched(Folder):
    """The folder of a run that another process holds and this one helps with: it writes nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, lambda: None)

    def write(self, name: str, content: Content) -> None: ...  # noqa: D102
    def remove(self, name: str) -> None: ...  # noqa: D102


@contextmanager
def hold(
    store: Path, name: str, say: Callable[[str], None], check: Callable[[], None] = lambda: None
) -> Iterator[Folder]:
    """Hold a run: one process works on it, others wait here, with a message.

    While this process waits, `check` is called again and again; it may raise. A RunError says that
    the store cannot be written to; from the folder's methods, that the lease was lost.
    """
    if name[:1] in ("", ".") or Path(name).name != name:
        raise RunError(f"{name} is no name of a run: expected that of a folder directly in {store}")
    lost = threading.Event()

    def known() -> None:
        if lost.is_set() and (store / LOCKS).is_dir():
            raise RunError(f"{name} was taken over by another process while this one stood still")
        if lost.is_set():
            raise RunError(f"runs={store} is gone: it was deleted or moved; bring it back")

    def allowed() -> None:
        if not held.kept():
            lost.set()
        known()

    def waits() -> None:
        say(f"{name}: another process works on it ({holder(store, name) or 'unknown'}); waiting")

    with first_free(store, [name], waits=waits, check=check, lost=lost.set) as held:
        yield Folder(store / name, known, allowed)
