"""Boxes of files: each odd one, and how they move with the pixels of crops."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from repro.data.images import ArrayImages
from repro.data.loader import TrainingCrops
from repro.data.sources import _look, kind_of
from repro.data.split import Source, Split
from repro.errors import RequestError
from repro.protocol.boxes import from_window
from tests.data.conftest import data, fill

XML = "<annotation><size><width>{}</width><height>{}</height></size>\n{}</annotation>"
OBJECT = "<object><name>{}</name><bndbox>{}</bndbox></object>\n"


def xml(root: Path, id: str, *found: str, name: str = "a", size: tuple[int, int] = (9, 8)) -> None:
    """The file of an image's boxes, each as in `0 1 5 6`."""
    edges = ("xmin", "ymin", "xmax", "ymax")
    inner = [
        "".join(f"<{e}>{word}</{e}>" for e, word in zip(edges, one.split(), strict=False))
        for one in found
    ]
    path = root / "boxes" / Path(id).with_suffix(".xml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(XML.format(*size, "".join(OBJECT.format(name, one) for one in inner)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of 8 rows and 9 to 11 columns, each with one box."""
    fill(tmp_path, train={"a": 4, "b": 4}, val={"a": 2, "b": 2}, test={"a": 2, "b": 2})
    for part, count in (("train", 4), ("val", 2), ("test", 2)):
        for name in "ab":
            for n in range(count):
                xml(tmp_path, f"{part}/{name}/{n}.png", "1 2 4 5", name=name, size=(9 + n % 3, 8))
    return tmp_path


def look(root: Path, name: str = "imagefolder", **changes: object) -> Source:
    found = replace(data(name, root, **changes), boxes=True)
    return _look(found, kind_of(found), root / ".cache", progress=False)


def test_boxes_are_shares_of_the_sides_and_counted_where_odd(folder: Path) -> None:
    xml(folder, "train/a/0.png", "0 0 9 8")
    xml(folder, "train/a/1.png", "3 3 3 7", "0 0 9 7", size=(10, 8))
    (folder / "boxes/train/b/0.xml").unlink()
    xml(folder, "train/b/1.png", "1 1 2 2", name="a", size=(10, 8))
    found = look(folder)
    boxes = dict(zip(found.train.ids, found.train.boxes or (), strict=True))
    assert boxes["train/a/0.png"].tolist() == [[0, 0, 1, 1]], "one pixel over is cut"
    assert boxes["train/a/1.png"] == pytest.approx(np.array([[0.3, 3 / 8, 0.4, 1], [0, 0, 1, 1]]))
    assert {"train/b/0.png", "train/b/1.png"}.isdisjoint(boxes), "no box of their class"
    odd = found.description.odd_boxes
    assert odd == {"cut": 1, "left_out": 2, "one_pixel": 1, "several": 1}
    before = look(folder).description
    xml(folder, "train/a/2.png", "1 2 4 6", size=(11, 8))
    after = look(folder).description
    assert before.fingerprint != after.fingerprint, "other boxes, another run"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (["1 2 3"], "line 2: expected four whole numbers"),
        (["1 2 3.5 4"], "expected four whole numbers"),
        (["0 0 4 4", "0 0 10 4"], "line 3: the box 0, 0, 10, 4 is outside of 9x8"),
        (["-2 0 4 4"], "outside"),
        ([], "has no box"),
    ],
)
def test_boxes_that_cannot_be_are_refused(folder: Path, found: list[str], words: str) -> None:
    xml(folder, "test/a/0.png", *found)
    with pytest.raises(RequestError, match=words):
        look(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "document type"),
        (XML.format(8, 9, ""), "is of 9 by 8 pixels, and its image of 8 by 9"),
        ("<a>", "cannot be read"),
    ],
)
def test_files_that_cannot_be_are_refused(folder: Path, content: str, words: str) -> None:
    (folder / "boxes/train/a/0.xml").write_text(content)
    with pytest.raises(RequestError, match=words):
        look(folder)


def test_tiny_imagenets_boxes_and_their_lines(tmp_path: Path) -> None:
    root = tmp_path / "tiny-imagenet-200"
    for name in ("n1", "n2"):
        (root / "train" / name / "images").mkdir(parents=True)
        rows = []
        for n in range(20):
            Image.new("RGB", (64, 64), (n, n, n)).save(
                root / f"train/{name}/images/{name}_{n}.JPEG"
            )
            rows.append(f"{name}_{n}.JPEG\t0\t{n}\t63\t31\n")
        (root / "train" / name / f"{name}_boxes.txt").write_text("".join(rows))
    (root / "val" / "images").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(root / "val/images/val_0.JPEG")
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn2\t5\t6\t5\t62\n")
    (root / "wnids.txt").write_text("n2\nn1\n")
    found = look(tmp_path, "tiny_imagenet")
    assert found.test.boxes is not None
    assert found.test.boxes[0].tolist() == [[5 / 64, 6 / 64, 6 / 64, 63 / 64]]
    for id, (box,) in zip(found.train.ids, found.train.boxes or (), strict=True):
        assert box.tolist() == [0, int(Path(id).stem.split("_")[1]) / 64, 1, 0.5]
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn2\t5\t6\t65\t62\n")
    with pytest.raises(RequestError, match=r"val_annotations.txt, line 1: .* outside of 64x64"):
        look(tmp_path, "tiny_imagenet")


def test_targets_point_at_the_pixels_of_the_crop() -> None:
    """A white rectangle is where its box says, after rescaling, cropping and mirroring."""
    images, boxes = torch.zeros(12, 1, 24, 30, dtype=torch.uint8), []
    for n in range(12):
        left, top = 6 + n % 4, 5 + n % 5
        images[n, :, top : top + 10, left : left + 14] = 255
        box = [left / 30, top / 24, (left + 14) / 30, (top + 10) / 24]
        # The second box is the image.
        boxes.append(np.array([box] if n % 2 else [box, [0, 0, 1, 1]]))
    plain = Split(ArrayImages(images), np.arange(12), tuple(map(str, range(12))))
    how: dict[str, Any] = {"smin": 40, "smax": 56, "crop": 40, "mirror": True, "batch": 5}
    how |= {"seed": 0, "workers": 0, "colour": None}
    crops = TrainingCrops(replace(plain, boxes=tuple(boxes)), **how)
    drawn, checked = set(), 0
    for epoch in range(6):
        both = zip(crops.epoch(epoch), TrainingCrops(plain, **how).epoch(epoch), strict=True)
        for (made, _, targets), (same, _, _) in both:
            assert torch.equal(made, same), "boxes change no crop"
            for image, (label, *box) in zip(made[:, 0], targets.tolist(), strict=True):
                ends = 40 * from_window(np.array([box]), np.array([[0.0, 0, 1, 1, 0]]))[0]
                drawn.add((label, bool(ends[2] - ends[0] > 35)))
                if ends[2] - ends[0] < 35 and ends.min() >= 0 and ends.max() <= 40:
                    rows, columns = np.nonzero(image.numpy() > 127)
                    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                    assert np.abs(ends - seen).max() <= 1.0
                    checked += 1
    assert checked > 20
    assert {(0.0, True), (0.0, False)} <= drawn, "one of several is drawn each epoch"
    assert {whole for label, whole in drawn if label % 2} == {False}
