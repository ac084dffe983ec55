"""The boxes of images (Appendix A): read, checked, and laid beside the images of a data set.

Coordinates count pixels from 0, the last one included. A RequestError names the line of a file.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from repro.config.schema import Data
from repro.data.images import FileImages, upright_size
from repro.data.split import Source, Split
from repro.errors import RequestError, one_line
from repro.store.files import read_whole

WHOLE = re.compile(r"[+-]?\d{1,6}")
EDGES = ("xmin", "ymin", "xmax", "ymax")
LARGEST = 1_000_000
"""Bytes of a file of boxes of one image."""


Found = tuple[tuple[int, int], list[tuple[str, list[str]]]]
"""An image's (height, width) and its boxes as a file has them: the place and words of each."""
Reader = Callable[[str, str, Path], Found]
"""Takes an image's id, its class's name and its path to its boxes."""


def with_boxes(source: Source, reader: Reader) -> Source:
    """A data set with boxes: a training image without one is left out, a test image refused."""
    odd: Counter[str] = Counter()
    shared = source.validation_is_test
    train = _boxed(source, source.train, reader, odd, required=False)
    test = _boxed(source, source.test, reader, odd, required=True)
    validation = test if shared else _boxed(source, source.validation, reader, odd, required=False)
    total = hashlib.sha256()
    for part in (train, validation, test):
        for id, boxes in zip(part.ids, part.boxes or (), strict=True):
            total.update(f"{id}\n".encode() + boxes.tobytes())
    known = replace(source.description, odd_boxes=dict(sorted(odd.items())))
    if known.fingerprint:
        # It begins as that of the images, by which the report knows the data.
        known = replace(known, fingerprint=known.fingerprint + total.hexdigest())
    return replace(source, train=train, validation=validation, test=test, description=known)


def _boxed(source: Source, part: Split, reader: Reader, odd: Counter[str], required: bool) -> Split:
    assert isinstance(part.images, FileImages)
    boxes: list[NDArray[np.float64]] = []
    for index, (id, label) in enumerate(zip(part.ids, part.labels.tolist(), strict=True)):
        path = part.images.path(index)
        size, rows = reader(id, source.classes[label], path)
        own = [_checked(place, words, size, odd) for place, words in rows]
        if required and not own:
            raise RequestError(f"{path} has no box: every test image needs one of its class")
        odd["several"] += len(own) > 1
        boxes.append(np.array(own, dtype=np.float64).reshape(-1, 4))
    there = np.flatnonzero([len(own) for own in boxes])
    odd["left_out"] += len(boxes) - len(there)
    if not len(there) and len(boxes):
        raise RequestError(f"{part.images.path(0)} and all other images of its set have no box")
    return replace(part, boxes=tuple(boxes)).take(there)


def _checked(
    place: str, words: list[str], size: tuple[int, int], odd: Counter[str]
) -> tuple[float, ...]:
    """A box in shares of the image's sides, (left, top, right, bottom)."""
    if len(words) != 4 or not all(map(WHOLE.fullmatch, words)):
        raise RequestError(f"{place}: expected four whole numbers, found {' '.join(words)[:80]!r}")
    ends, (height, width) = list(map(int, words)), size
    last = (width - 1, height - 1) * 2
    if not all(-1 <= end <= most + 1 for end, most in zip(ends, last, strict=True)):
        raise RequestError(f"{place}: the box {', '.join(words)} is outside of {width}x{height}")
    inside = [min(max(end, 0), most) for end, most in zip(ends, last, strict=True)]
    odd["cut"] += inside != ends
    left, top, right, bottom = inside
    odd["one_pixel"] += right <= left or bottom <= top
    right, bottom = max(left, right), max(top, bottom)
    return left / width, top / height, (right + 1) / width, (bottom + 1) / height


def of_tables(tables: dict[str, tuple[str, list[str]]], side: int) -> Reader:
    """Boxes by the ids of images of `side` by `side` pixels, as one image of each class shows."""
    looked: set[str] = set()

    def read(id: str, name: str, path: Path) -> Found:
        if name not in looked and upright_size(path) != (side, side):
            raise RequestError(f"{path} is not of {side}x{side} pixels, as its boxes are")
        looked.add(name)
        return (side, side), [tables[id]] if id in tables else []

    return read


def of_xml(data: Data) -> Reader:
    """ILSVRC's boxes of images' own classes: ROOT/boxes/train/CLASS/NAME.xml, .../val/NAME.xml."""
    root = Path(data.root) / "boxes"

    def read(id: str, name: str, path: Path) -> Found:
        part, stem = Path(id).parts[0], f"{Path(id).stem}.xml"
        size = upright_size(path)
        files = (root / Path(id).with_suffix(".xml"), root / part / stem)
        file = next((one for one in files if one.is_file()), None)
        return size, [] if file is None else list(_objects(file, name, size))

    return read


def _objects(file: Path, name: str, size: tuple[int, int]) -> Iterator[tuple[str, list[str]]]:
    tree = parsed(file)
    said = [_word(tree, f"size/{side}") for side in ("height", "width")]
    if said != list(map(str, size)):
        shown = " by ".join(map(str, size))
        raise RequestError(f"{file} is of {' by '.join(said)} pixels, and its image of {shown}")
    for one in tree.iterfind("object"):
        for box in one.iterfind("bndbox") if _word(one, "name") == name else ():
            yield f"{file}, line {box.get('line')}", [_word(box, edge) for edge in EDGES]


def _word(tree: Element, path: str) -> str:
    return (tree.findtext(path) or "").strip()


def parsed(file: Path) -> Element:
    """The elements of an XML file, each with its `line`; one that declares entities is refused."""
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type or entities")

    def start(tag: str, _: dict[str, str]) -> None:
        builder.start(tag, {"line": str(parser.CurrentLineNumber)})

    parser.StartElementHandler, parser.EndElementHandler = start, builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(read_whole(file, LARGEST), True)
        return builder.close()
    except (OSError, ValueError, expat.ExpatError) as error:
        raise RequestError(f"{file} cannot be read: {one_line(error)}") from None
