"""What is found in a folder of image files, and what of it is refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from torchvision.datasets import ImageFolder

from repro.config.schema import Data
from repro.data import sources
from repro.data.split import Source
from repro.errors import RequestError
from tests.data.conftest import fill, save

THREE = {"n0": 5, "n1": 5, "n2": 5}


def data(root: Path, name: str = "imagefolder", **changes: object) -> Data:
    return Data(name, 3, True, root=str(root), **changes)  # type: ignore[arg-type]


def look(root: Path, **changes: object) -> Source:
    sources._checked.cache_clear()
    description = sources.check(data(root, **changes), root / ".cache", progress=False)  # type: ignore[arg-type]
    source = sources.load(data(root, **changes), root / ".cache")  # type: ignore[arg-type]
    assert source.description == description
    return source


def refused(root: Path, **changes: object) -> str:
    with pytest.raises(RequestError) as caught:
        look(root, **changes)
    text = str(caught.value)
    text.encode()
    assert "\n" not in text
    return text


def ids(source: Source) -> set[str]:
    return {name for part in source.parts for name in part.ids}


@pytest.mark.parametrize("name", ["imagefolder", "imagenet"])
def test_a_fingerprint_is_the_hash_of_all_names_and_sizes(tmp_path: Path, name: str) -> None:
    root = fill(tmp_path, train=THREE, val=THREE)
    save(root / "train" / "n1" / "\u00e9.png", 9, 9)
    files = [path for part in ("train", "val") for path in (root / part).rglob("*.png")]
    # What is validated and tested on stands there twice.
    files += [path for path in files if name == "imagenet" and "val" in path.parts]
    rows = sorted((path.relative_to(root).as_posix(), path.stat().st_size) for path in files)
    expected = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    assert look(root, name=name).description.fingerprint == expected


def test_the_images_are_those_that_torchvision_finds(tmp_path: Path) -> None:
    root = fill(tmp_path, train=THREE, test=THREE)
    save(root / "train" / "n1" / "more" / "deep" / "x.jpg", 9, 9)
    save(root / "elsewhere" / "y.png", 9, 9)
    (root / "train" / "n2" / "link").symlink_to(root / "elsewhere")
    theirs = {os.path.relpath(path, root) for path, _ in ImageFolder(root / "train").samples}
    found = look(root)
    assert ids(found) - set(found.test.ids) == theirs
    assert {"train/n1/more/deep/x.jpg", "train/n2/link/y.png"} < theirs
    # torchvision does not know this ending.
    save(root / "train" / "n0" / "z.JFIF", 9, 9)
    assert ids(look(root)) - ids(found) == {"train/n0/z.JFIF"}


def test_a_flat_folder_is_split_as_a_line_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "flat"
    fill(tmp_path, flat={"a": 20, "b": 20})
    found = look(root)
    assert found.classes == ("a", "b")
    assert [len(part.ids) for part in found.parts] == [32, 4, 4]
    assert len(ids(found)) == 40
    said = capsys.readouterr().err
    assert said.count("has no train/") == 1
    assert "10%" in said


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    folder = os.fsencode(fill(tmp_path, train=THREE) / "train")
    os.rename(folder + b"/n1/3.png", folder + b"/n1/\xe91.png")
    assert "\\xe91.png" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["nowhere", "around", "pipe"])
def test_what_is_no_image_file_nor_folder_is_named(tmp_path: Path, kind: str) -> None:
    root = fill(tmp_path, train=THREE)
    place = root / "train" / "n1" / ("odd" if kind == "around" else "odd.png")
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(root / "no.png" if kind == "nowhere" else place.parent)
    assert "odd" in refused(root)


@pytest.mark.parametrize("name", ["cifar10", "tiny_imagenet"])
def test_a_root_that_nothing_can_be_fetched_into(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    for root in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert f"{tmp_path}/file is a file" in refused(root, name=name)
    before = sorted(tmp_path.iterdir())
    sources.check(data(tmp_path / "new" / "er", name), tmp_path)
    assert sorted(tmp_path.iterdir()) == before, "nothing is left by having tried"
