"""Lists of large folders: made once, kept, and made again when the folder has changed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.config.schema import Data
from repro.data import folders, listing, sources
from repro.data.names import Names
from repro.data.split import Source
from repro.errors import RequestError

PAST = 10**18
"""A time of modification in 2001."""


def fill(root: Path, classes: int = 3, train: int = 20, val: int = 4) -> Path:
    """root/{train,val}/n*/*.JPEG, files of a few bytes that are old."""
    for part, count in (("train", train), ("val", val)):
        for label in range(classes):
            folder = root / part / f"n{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.JPEG").write_bytes(bytes(1 + number % 7))
    age(root)
    return root


def age(root: Path) -> None:
    """As if all had been made long ago."""
    for place, _, names in os.walk(root):
        for path in (Path(place), *(Path(place, name) for name in names)):
            os.utime(path, ns=(PAST, PAST))


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder is large enough for its list to be kept."""
    monkeypatch.setattr(listing, "KEPT_FROM", 1)
    monkeypatch.setattr(folders, "KEPT_FROM", 1)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are listed, as they are listed."""
    found: list[str] = []
    scandir = os.scandir

    def noted(path: Path) -> object:
        found.append(str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    return found


def data(root: Path, **changes: object) -> Data:
    return Data("imagenet", 3, True, root=str(root), **changes)  # type: ignore[arg-type]


def look(root: Path, cache: Path) -> Source:
    """As a process does that knows nothing of an earlier one."""
    sources._checked.cache_clear()
    description = sources.check(data(root), cache)
    source = sources.load(data(root), cache)
    assert source.description.fingerprint == description.fingerprint
    return source


def by_hand(root: Path) -> str:
    """The fingerprint as identities have it: names and sizes of each set, the test set's too."""
    files = list(root.rglob("*.JPEG"))
    files += [path for path in files if "val" in path.parts]
    rows = sorted((path.relative_to(root).as_posix(), path.stat().st_size) for path in files)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def test_a_folder_is_listed_once_whatever_looks_at_it(tmp_path: Path, listed: list[str]) -> None:
    root, cache = fill(tmp_path / "data"), tmp_path / "cache"
    listed.clear()
    first = look(root, cache)
    assert len(listed) == 8
    again = look(root, cache)
    assert len(listed) == 8
    assert first.description == again.description
    assert first.description.times == again.description.times
    assert first.classes == again.classes == ("n0", "n1", "n2")
    for one, other in ((first.train, again.train), (first.test, again.test)):
        assert one.ids == other.ids
        assert one.labels.tolist() == other.labels.tolist()
    assert len(first.train.ids) == 60
    assert first.description.fingerprint == by_hand(root)


def add(root: Path) -> None:
    (root / "train" / "n1" / "new.JPEG").write_bytes(b"new")


def rename(root: Path) -> None:
    (root / "val" / "n1" / "0.JPEG").rename(root / "val" / "n1" / "00.JPEG")


def rename_class(root: Path) -> None:
    for part in ("train", "val"):
        (root / part / "n1").rename(root / part / "n9")


def remove(root: Path) -> None:
    (root / "train" / "n2" / "3.JPEG").unlink()


def write_over(root: Path) -> None:
    (root / "train" / "n0" / "5.JPEG").write_bytes(b"of another size")


def replace(root: Path) -> None:
    path = root / "train" / "n0" / "5.JPEG"
    path.write_bytes(b"?" * path.stat().st_size)


@pytest.mark.parametrize("change", [add, rename, rename_class, remove, write_over, replace])
def test_a_list_that_no_longer_holds_is_made_anew(
    tmp_path: Path, listed: list[str], change: object
) -> None:
    root, cache = fill(tmp_path / "data"), tmp_path / "cache"
    before = look(root, cache).description
    change(root)  # type: ignore[operator]
    count = len(listed)
    found = look(root, cache)
    assert len(listed) > count
    assert found.description.fingerprint == by_hand(root)
    assert change is not replace or found.description.times != before.times
    assert (found.description == before) == (change is replace), "the same names and sizes"
    ids = {path.relative_to(root).as_posix() for path in root.rglob("*.JPEG")}
    assert {*found.train.ids, *found.test.ids} == ids


def test_a_folder_that_was_modified_just_now_may_be_modified_once_more(
    tmp_path: Path, listed: list[str]
) -> None:
    root, cache = fill(tmp_path / "data"), tmp_path / "cache"
    os.utime(root / "train" / "n1")
    look(root, cache)
    count = len(listed)
    look(root, cache)
    assert len(listed) > count


@pytest.mark.parametrize("harm", ["cut", "zeros", "a bit", "none"])
def test_a_damaged_list_is_made_anew(
    tmp_path: Path, listed: list[str], capsys: pytest.CaptureFixture[str], harm: str
) -> None:
    root, cache = fill(tmp_path / "data"), tmp_path / "cache"
    before = look(root, cache)
    for path in [*cache.glob("listing-*.npz"), *cache.glob("files-*.json")]:
        content = path.read_bytes()
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
        harmed = {"cut": content[:middle], "zeros": bytes(len(content)), "a bit": changed}
        path.write_bytes(harmed.get(harm, content))
    capsys.readouterr()
    found = look(root, cache)
    assert found.description == before.description
    assert found.train.ids == before.train.ids
    said = capsys.readouterr().err
    assert said.count("is damaged: it is made anew") == (0 if harm == "none" else 3)


def test_no_damaged_byte_of_a_list_ends_in_an_error(tmp_path: Path) -> None:
    root, cache = fill(tmp_path / "data"), tmp_path / "cache"
    before = look(root, cache)
    path = min(cache.glob("listing-*.npz"))
    content = path.read_bytes()
    # The directory of the zip, behind its members: versions, methods, flags, places.
    for place in range(content.index(b"PK\1\2"), len(content)):
        damaged = bytes([content[place] ^ 1 << place % 8])
        path.write_bytes(content[:place] + damaged + content[place + 1 :])
        assert look(root, cache).train.ids == before.train.ids


def test_of_a_larger_folder_files_are_looked_at_here_and_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: list[str]
) -> None:
    root, cache = fill(tmp_path / "data"), tmp_path / "cache"
    monkeypatch.setattr(listing, "LOOKED_AT", 20)
    look(root, cache)
    count = len(listed)
    looked = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **how: (looked.append(path), stat(path, **how))[1])
    listing.listing(root / "train", cache)
    monkeypatch.setattr(os, "stat", stat)
    assert len([path for path in looked if str(path).endswith(".JPEG")]) == 20
    assert len(listed) == count
    for path in root.rglob("*.JPEG"):
        os.utime(path)
    look(root, cache)
    assert len(listed) > count


def test_a_list_that_cannot_be_kept_is_made_again(tmp_path: Path) -> None:
    root = fill(tmp_path / "data")
    (tmp_path / "file").write_text("no folder")
    assert look(root, tmp_path / "file" / "cache").description.fingerprint == by_hand(root)


NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=12)


@given(st.lists(NAME, max_size=20), st.randoms())
def test_names_are_what_a_tuple_of_them_is(names: list[str], random: object) -> None:
    found = Names.of(names)
    assert found == tuple(names)
    assert tuple(found) == tuple(names)
    assert found != (*names, "more")
    places = np.arange(len(names))
    random.shuffle(places)  # type: ignore[attr-defined]
    assert found.take(places) == [names[place] for place in places]
    assert found[1:-1] == names[1:-1]
    assert (not names) or found[-1] == names[-1]


@given(st.lists(st.tuples(NAME, st.integers(0, 2**40)), min_size=1, max_size=20))
def test_a_fingerprint_is_the_hash_of_the_sorted_rows(rows: list[tuple[str, int]]) -> None:
    none = np.zeros(len(rows), dtype=np.int64)
    sizes = np.array([size for _, size in rows], dtype=np.int64)
    part = folders.Files(Path(), Names.of(name for name, _ in rows), none, sizes, none)
    expected = hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()
    assert folders._state([part]).fingerprint == expected


# --- what cannot be listed ------------------------------------------------------------------------


def refused(root: Path, cache: Path, **changes: object) -> str:
    sources._checked.cache_clear()
    with pytest.raises(RequestError) as caught:
        sources.check(data(root, **changes), cache, progress=False)
    text = str(caught.value)
    text.encode()
    assert "\n" not in text
    return text


@pytest.mark.parametrize("skip", ["error", "skip"])
@pytest.mark.parametrize("what", ["class", "file"])
def test_a_name_that_is_not_utf8(tmp_path: Path, what: str, skip: str) -> None:
    root, cache = fill(tmp_path / "data"), tmp_path / "cache"
    folder = os.fsencode(root / "train")
    if what == "class":
        os.rename(folder + b"/n1", folder + b"/n\xe91")
    else:
        os.rename(folder + b"/n1/3.JPEG", folder + b"/n1/\xe9.JPEG")
    text = refused(root, cache, on_bad_image=skip)
    name = "n\\xe91" if what == "class" else "n1/\\xe9.JPEG"
    assert text == f"{root}/train/{name} has a name that is not UTF-8: rename it"


@pytest.mark.parametrize("place", ["train", "train/n1", "train/n1/3.JPEG", "val/n0", "."])
def test_a_link_to_itself(tmp_path: Path, place: str) -> None:
    root = fill(tmp_path / "data")
    path = root / place
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(path)
    text = refused(root, tmp_path / "cache")
    if place in ("train", "."):
        assert "expects" in text
    else:
        assert text == f"{path} cannot be looked at: Too many levels of symbolic links"


def test_a_class_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = fill(tmp_path / "data"), os.scandir

    def fails(path: Path) -> object:
        if Path(path).name == "n1":
            # Root may read anything, so that permissions cannot be tried.
            raise PermissionError(13, os.strerror(13), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fails)
    text = refused(root, tmp_path / "cache")
    assert text == f"{root}/train/n1 cannot be looked at: Permission denied"


@pytest.mark.parametrize("length", [300, 5000])
@pytest.mark.parametrize(
    "name", ["imagefolder", "imagenet", "mnist", "tiny_imagenet", "caltech101"]
)
def test_a_root_that_no_system_takes(tmp_path: Path, name: str, length: int) -> None:
    sources._checked.cache_clear()
    channels = 1 if name == "mnist" else 3
    for root in (f"{tmp_path}/{'x' * length}", f"{tmp_path}/{'x/' * (length // 2)}"):
        if length == 300 and root.endswith("/"):
            continue
        with pytest.raises(RequestError, match="cannot be looked at: File name too long") as caught:
            sources.check(Data(name, channels, True, root=root), tmp_path, progress=False)
        assert len(str(caught.value)) < 300
    with pytest.raises(RequestError, match="holds a character of value 0"):
        sources.check(Data(name, channels, True, root="a\0b"), tmp_path, progress=False)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "caltech101", "imagenette", "tiny_imagenet"])
def test_a_root_that_nothing_can_be_fetched_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    channels = 1 if name == "mnist" else 3
    (tmp_path / "file").write_text("mine")
    for root in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(RequestError, match=f"data.root={root}: {tmp_path}/file is a file"):
            sources.check(Data(name, channels, True, root=str(root)), tmp_path)
    before = sorted(tmp_path.iterdir())
    sources.check(Data(name, channels, True, root=str(tmp_path / "new" / "er")), tmp_path)
    assert sorted(tmp_path.iterdir()) == before, "nothing is left by having tried"

    def fails(*_: object, **__: object) -> str:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr("tempfile.mkdtemp", fails)
    with pytest.raises(RequestError, match=f"can be made in {tmp_path}: Permission denied"):
        sources.check(Data(name, channels, True, root=str(tmp_path / "newer")), tmp_path)
