"""Images as the nets' loaders see them: in memory, or as files that are decoded when asked for.

Either way an image is a uint8 tensor (C, H, W) of grey levels, upright, with one channel (grey)
or three (RGB), whatever its file held.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from repro.data.names import Names
from repro.data.rescale import rescale
from repro.errors import RunError
from repro.protocol.rescaling import OURS

ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
SOI, APP1, SOS = b"\xff\xd8", b"\xff\xe1", b"\xff\xda"
"""Markers of a JPEG: its start, the segments for EXIF and XMP, the start of its picture."""
PNG_DEPTH = 24
"""The byte of a PNG that says how many bits a channel has (ISO 15948, 11.2.2)."""


class Undecodable(RunError):
    """What an image file holds is no image that can be decoded; it could be read."""


class Images(Protocol):
    """A sequence of images."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, index: int) -> Tensor:
        """One image, uint8 (C, H, W)."""

    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): height and width of every image, without decoding."""

    def subset(self, indices: NDArray[np.int64]) -> Images:
        """The images at `indices`, in their order."""


class ArrayImages:
    """Images of one size in memory."""

    def __init__(self, array: Tensor) -> None:
        """`array`: uint8 (N, C, H, W)."""
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> Tensor:
        return self.array[index]

    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): height and width."""
        return np.tile(np.array(self.array.shape[-2:], dtype=np.int64), (len(self.array), 1))

    def subset(self, indices: NDArray[np.int64]) -> ArrayImages:
        """The images at `indices`."""
        return ArrayImages(self.array[torch.as_tensor(indices)])


class EnlargedImages:
    """Images whose smallest side is at least `side` pixels: smaller ones are enlarged."""

    def __init__(self, images: Images, side: int) -> None:
        self.images, self.side = images, side

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = self.images[index]
        return rescale(image, max(self.side, min(image.shape[-2:])))

    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): height and width of every image, once it is enlarged."""
        found = [
            OURS.shape(height, width, max(self.side, min(height, width)))
            for height, width in self.images.sizes().tolist()
        ]
        return np.array(found, dtype=np.int64).reshape(-1, 2)

    def subset(self, indices: NDArray[np.int64]) -> EnlargedImages:
        """The images at `indices`."""
        return EnlargedImages(self.images.subset(indices), self.side)


def in_memory(images: Images) -> ArrayImages:
    """All images decoded.

    Raises:
        RunError: one cannot be decoded, or they are not of one size.
    """
    sizes = np.unique(images.sizes(), axis=0)
    if len(sizes) > 1:
        (height, width), (other, wide) = sizes[0].tolist(), sizes[-1].tolist()
        raise RunError(
            "data.in_memory=true holds images of one size, and there are images of "
            f"{height}x{width} and of {other}x{wide} pixels: leave it out"
        )
    return ArrayImages(torch.stack([images[index].contiguous() for index in range(len(images))]))


class FileImages:
    """Image files, decoded at each access."""

    def __init__(self, paths: Iterable[Path], channels: int) -> None:
        self._root, self._names = "", Names.of(str(path) for path in paths)
        self.channels = channels
        self._sizes: NDArray[np.int64] | None = None

    @classmethod
    def below(cls, root: Path, names: Names, channels: int) -> FileImages:
        """The files of these names below `root`; they are kept as they are."""
        images = cls((), channels)
        images._root, images._names = f"{root}/", names
        return images

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the files are."""
        return tuple(self._path(index) for index in range(len(self)))

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Tensor:
        return decode(self._path(index), self.channels)

    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): height and width, upright, from the files' headers, which are read once.

        Raises:
            RunError: a header cannot be read; names the path.
        """
        if self._sizes is None:
            found = [upright_size(self._path(index)) for index in range(len(self))]
            self._sizes = np.array(found, dtype=np.int64).reshape(-1, 2)
        return self._sizes

    def subset(self, indices: NDArray[np.int64]) -> FileImages:
        """The images at `indices`."""
        images = FileImages((), self.channels)
        images._root, images._names = self._root, self._names.take(indices)
        return images

    def _path(self, index: int) -> Path:
        return Path(self._root + self._names[index])


def decode(path: Path, channels: int) -> Tensor:
    """An image file as grey levels, uint8 (channels, H, W), in memory row by row (H, W, C).

    Its content decides how it is read, not its ending (ILSVRC-2012 holds a PNG named .JPEG). The
    camera's orientation is followed, transparency is laid on white, and of 16 bits the upper
    eight are kept. Floats and whole numbers of 32 bits do not say what is white and are refused.

    Raises:
        Undecodable: its content is damaged, or of a kind that is refused; names the path.
        RunError: it cannot be read, or memory does not suffice; names the path.
    """
    try:
        content = path.read_bytes()
        pixels = _jpeg(content, channels)
        if pixels is None:
            with Image.open(path) as file:
                depth = content[PNG_DEPTH] if file.format == "PNG" else 8
                _check_pixels(file, depth)
                mode = "L" if channels == 1 else "RGB"
                pixels = np.array(_plain(ImageOps.exif_transpose(file), mode, depth))
    except Exception as error:
        raise _failed(path, error) from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def _jpeg(content: bytes, channels: int) -> NDArray[np.uint8] | None:
    """PIL's pixels in two thirds of its time; None where PIL has to see what can be made of it."""
    colours = ("Gray",) if channels == 1 else ("Gray", "YCbCr", "RGB")
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        # Larger ones PIL refuses or warns of.
        fits = height * width <= (Image.MAX_IMAGE_PIXELS or 0)
        if space not in colours or not fits or not _upright(content):
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            content, "GRAY" if channels == 1 else "RGB"
        )
    except ValueError:
        return None
    return pixels


def _upright(content: bytes) -> bool:
    """Whether a JPEG's pixels lie as they are to be seen; PIL looks only where that may be said."""
    if not _may_be_turned(content):
        return True
    with Image.open(io.BytesIO(content)) as file:
        return file.getexif().get(ORIENTATION) not in range(2, 9)


def _may_be_turned(content: bytes) -> bool:
    """Whether a JPEG has an APP1 segment before its picture, for EXIF or XMP; or cannot be told.

    Each segment is FF, its kind, and its length without these two bytes (ITU-T T.81, B.1.1.4).
    """
    at = len(SOI)
    while content[at : at + 2] not in (APP1, SOS):
        if content[at : at + 1] != b"\xff":
            return True
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return content[at : at + 2] == APP1


def _check_pixels(file: Image.Image, depth: int) -> None:
    """Refuse pixels that cannot be taken for grey levels.

    Raises:
        ValueError: says what would be right.
    """
    # PIL also has 16 bits of a PNG or a PGM as whole numbers of 32.
    if file.mode == "F" or (file.mode == "I" and file.format not in ("PNG", "PPM")):
        raise ValueError(
            "its pixels are floats or whole numbers of 32 bits, which do not say what is white; "
            "save it with 8 or 16 bits"
        )
    if depth == 16 and file.mode == "RGB" and "transparency" in file.info:
        # PIL keeps 8 bits of the pixels, and of the transparent colour 16.
        raise ValueError("its 16-bit colours have a transparent one; save it with 8 bits")


def _plain(image: Image.Image, mode: str, depth: int) -> Image.Image:
    """Grey or RGB on white; `depth` is the bits of a PNG's channel."""
    clear = image.info.get("transparency")
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        grey = (deep >> 8).astype(np.uint8)
        if clear is not None:
            grey[deep == clear] = 255
        return Image.fromarray(grey).convert(mode)
    if image.mode == "L" and isinstance(clear, int) and depth < 8:
        # PIL spreads 2 or 4 bits over 0-255, but not the one that is transparent.
        image.info["transparency"] = clear * 255 // (2**depth - 1)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert(mode)
    return image.convert(mode)


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file as `decode` gives it, from its header.

    Raises:
        RunError: the header cannot be read; names the path (see `decode`).
    """
    try:
        with Image.open(path) as file:
            if file.format == "TIFF":
                # PIL turns a TIFF while decoding, and before that its versions differ in the size.
                file.load()
            width, height = file.size
            sideways = file.getexif().get(ORIENTATION) in SIDEWAYS
    except Exception as error:
        raise _failed(path, error) from error
    return (width, height) if sideways else (height, width)


def _failed(path: Path, error: Exception) -> RunError:
    """PIL's decoders raise whatever they stumble over: OSError, SyntaxError, struct.error, ..."""
    if isinstance(error, MemoryError):
        return RunError(f"{path} cannot be read: memory does not suffice")
    # The system's own errors have a number; PIL also raises some without one for damaged files.
    if isinstance(error, OSError) and error.errno is not None:
        return RunError(f"{path} cannot be read: {error.strerror}")
    return Undecodable(f"{path} cannot be decoded: {error}")
