"""The two kinds of data set: images that are in memory, and folders of image files.

Each is checked before work starts, fetched where it can be and is not there, and loaded.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from repro.config.schema import Data
from repro.data import folders
from repro.data.folders import Files, State
from repro.data.images import Images, in_memory
from repro.data.layouts import FolderSets, is_folder
from repro.data.listing import looked_at, shown
from repro.data.split import Counts, Description, Source, Split
from repro.errors import RequestError
from repro.store.files import nearest


@dataclass(frozen=True)
class Fetch:
    """How a data set is brought to where it is not yet."""

    inside: str
    """Its own folder in `data.root`."""
    bring: Callable[[Path], object]
    """Brings that folder into the one that it is given."""
    elsewhere: Callable[[Data], bool] = lambda data: False
    """Whether the data set lies in `data.root` in another way than as that folder."""

    def is_there(self, data: Data) -> bool:
        """Whether nothing has to be fetched.

        Raises:
            RequestError: `data.root` cannot be looked at.
        """
        return self.elsewhere(data) or is_folder(Path(data.root) / self.inside)

    def check_room(self, data: Data) -> None:
        """Refuse a `data.root` that nothing can be fetched into. Nothing is left there.

        Raises:
            RequestError: it is a file, or lies in one, or cannot be written to.
        """
        root = Path(data.root)
        with looked_at(root):
            there = nearest(root)
        if not there.is_dir():
            raise RequestError(f"data.root={shown(root)}: {shown(there)} is a file, name a folder")
        try:
            os.rmdir(tempfile.mkdtemp(prefix=".fetching-", dir=there))
        except OSError as error:
            raise RequestError(
                f"data={data.name} is to be fetched into data.root={shown(root)}, and nothing can "
                f"be made in {shown(there)}: {error.strerror}"
            ) from None


@dataclass(frozen=True)
class InMemory:
    """A data set whose images are of one size and are read into memory."""

    read: Callable[[Data], Source]
    classes: int
    images: Counts
    """As it is published. A set of no images is held out of the training images."""
    channels: int
    fetch: Fetch | None = None

    def check(self, data: Data, cache: Path, progress: bool) -> Description:
        """What is known of it; where it is to be fetched, whether it can be put there.

        Raises:
            RequestError: `data.root` cannot hold it.
        """
        if self.fetch is not None and not self.fetch.is_there(data):
            self.fetch.check_room(data)
        return Description(self.classes, "")

    def load(self, data: Data, cache: Path) -> Source:
        """The images.

        Raises:
            RunError: they cannot be read.
        """
        return self.read(data)


@dataclass(frozen=True)
class InFiles:
    """A data set whose images are files, decoded when they are asked for."""

    layout: Callable[[Data, Path], FolderSets]
    """Lists the files and splits them (see `repro.data.layouts`)."""
    classes: int | None = None
    images: Counts | None = None
    """As it is published; None: the folder decides. A set of no images is held out of train/."""
    fetch: Fetch | None = None
    """None: the folder is the user's, and what is in it is part of what a run is."""
    channels: None = None

    def check(self, data: Data, cache: Path, progress: bool) -> Description:
        """What is found in the folder; with `data.verify` every image is decoded once.

        Raises:
            RequestError: the folder is not as it must be, or an image cannot be decoded.
            RunError: a file cannot be read.
        """
        if self.fetch is not None and not self.fetch.is_there(data):
            self.fetch.check_room(data)
            if data.contents or self.classes is None:
                raise RequestError(
                    f"data.contents=true reads the files of data={data.name}, and they are not in "
                    f"{shown(data.root)} yet: fetch them first, by a run without it"
                )
            return Description(self.classes, "")
        found, description = self._look(data, cache, progress)
        for name, part in zip(("training", "validation", "test"), found.parts, strict=True):
            if not part.names and (name == "test" or not data.test_only):
                raise RequestError(
                    f"{shown(found.root)} leaves no image for the {name} set: it needs more per "
                    "class"
                )
        if data.verify and data.on_bad_image == "error":
            mark = (
                cache / f"decoded-{_key(found, folders.state(found.parts, cache))}-{data.channels}"
            )
            folders.verify(found.parts, data.channels, mark, progress)
        return description

    def load(self, data: Data, cache: Path) -> Source:
        """The files as three sets of images.

        Raises:
            RequestError: the folder is not as it must be.
            RunError: a file cannot be read.
        """
        found, description = self._look(data, cache, progress=False)

        def split(part: Files) -> Split:
            images: Images = part.images(data.channels)
            images = in_memory(images) if data.in_memory else images
            return Split(images, part.labels, part.names, part.boxes)

        train, validation = split(found.train), split(found.validation)
        test = validation if found.validation_is_test else split(found.test)
        return Source(found.classes, train, validation, test, description, found.validation_is_test)

    def _look(self, data: Data, cache: Path, progress: bool) -> tuple[FolderSets, Description]:
        found = self.layout(data, cache)
        if data.test_only:
            found = found.test_only()
        state = folders.state(found.parts, cache)
        key, known = _key(found, state), state.fingerprint
        if data.contents:
            known = folders.contents(found.parts, cache / f"contents-{key}.json", progress)
        bad: frozenset[str] = frozenset()
        if data.on_bad_image == "skip":
            kept = cache / f"broken-{key}-{data.channels}.json"
            bad = folders.broken(found.parts, data.channels, kept, progress)
        if bad:
            # Other images of the same names and sizes may be whole: they make another data set.
            known = hashlib.sha256(f"{known},{','.join(sorted(bad))}".encode()).hexdigest()
        elif self.fetch is not None and not data.contents:
            # The name of what can be fetched says it all.
            known = ""
        description = Description(len(found.classes), known, len(bad), state.times)
        return found.without(bad), description


def _key(found: FolderSets, state: State) -> str:
    """What tells these files in this place: a copy may hold other bytes, of the same times."""
    place = hashlib.sha256(os.fsencode(found.root.resolve())).hexdigest()
    return f"{state.key}-{place[:8]}"


Kind = InMemory | InFiles
"""What an entry of `repro.data.datasets` is."""
