"""Images in memory, or as files that are decoded when asked for.

An image is a uint8 tensor (C, H, W) of grey levels, upright, of one channel (grey) or three (RGB).
"""

import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from torch import Tensor

from repro.data.rescale import ISOTROPIC, rescale
from repro.errors import RunError

ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)
"""The EXIF tag that says how a camera was held, from 1 (upright) to 8, and the turned ones."""
APP1 = b"\xff\xe1"
"""The marker of a JPEG's segments for EXIF and XMP (ITU-T T.81, B.1.1). Its pixels hold none."""

# What a PNG says beside its pixels, as a workflow or a history of edits, may be longer than 1 MB.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY


class Undecodable(RunError):
    """An image file could be read but not decoded."""


class ArrayImages:
    """Images of one size in memory, as `array`: uint8 (N, C, H, W)."""

    def __init__(self, array: Tensor) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> Tensor:
        return self.array[index]

    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): height and width."""
        return np.tile(np.array(self.array.shape[-2:], dtype=np.int64), (len(self.array), 1))

    def take(self, indices: NDArray[np.int64]) -> "ArrayImages":
        """The images at `indices`."""
        return ArrayImages(self.array[torch.as_tensor(indices)])

    def enlarged(self, smallest: int) -> "ArrayImages":
        """The images, their smallest side of `smallest` pixels if it was shorter."""
        if smallest <= min(self.array.shape[-2:]):
            return self
        parts = (rescale(part, smallest) for part in torch.split(self.array, 1024))
        return ArrayImages(torch.cat([*parts]))


class FileImages:
    """Image files, decoded at each access.

    `names` are below `root`, or paths: one array of bytes, since a worker copies each string that
    it looks at. `channels` is 1 (grey) or 3 (RGB); a side below `smallest` is enlarged to it.
    """

    def __init__(
        self,
        names: Iterable[Path | str] | NDArray[np.bytes_],
        channels: int,
        root: str = "",
        smallest: int = 1,
    ) -> None:
        if not isinstance(names, np.ndarray):
            names = np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
        self.names, self.channels, self.root, self.smallest = names, channels, root, smallest
        self._sizes: NDArray[np.int64] | None = None

    def path(self, index: int) -> Path:
        """Where a file is."""
        return Path(self.root + os.fsdecode(self.names[index]))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Tensor:
        image = decode(self.path(index), self.channels)
        return rescale(image, max(self.smallest, min(image.shape[-2:])))

    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): height and width, upright, from the files' headers, which are read once."""
        if self._sizes is None:
            found = [upright_size(self.path(index)) for index in range(len(self))]
            found = [ISOTROPIC.shape(*size, max(self.smallest, min(size))) for size in found]
            self._sizes = np.array(found, dtype=np.int64).reshape(-1, 2)
        return self._sizes

    def take(self, indices: NDArray[np.int64]) -> "FileImages":
        """The images at `indices`."""
        return FileImages(self.names[indices], self.channels, self.root, self.smallest)

    def enlarged(self, smallest: int) -> "FileImages":
        """The images, those whose smallest side is shorter enlarged to it."""
        return FileImages(self.names, self.channels, self.root, smallest)


Images = ArrayImages | FileImages


def decode(path: Path, channels: int) -> Tensor:
    """An image file as grey levels, uint8 (channels, H, W), in memory row by row (H, W, C).

    Its content decides how it is read, not its ending (ILSVRC-2012 holds a PNG named .JPEG). The
    camera's orientation is followed, transparency is laid on white, of 16 bits the upper eight are
    kept. Raises `Undecodable` where the content is damaged or of 32 bits, and else a RunError.
    """
    try:
        content, orientation = path.read_bytes(), 1
        image = _jpeg(content, channels)
        if image is None or APP1 in content:
            with Image.open(io.BytesIO(content)) as file:
                image = _by_pillow(file, channels) if image is None else image
                # Only now: Pillow turns a TIFF as it decodes it.
                orientation = _orientation(file)
    except Exception as error:
        raise _failed(path, error) from error
    return _upright(image, orientation).permute(1, 2, 0).contiguous().permute(2, 0, 1)


def _jpeg(content: bytes, channels: int) -> Tensor | None:
    """Pillow's pixels, faster, as stored; None where Pillow has to see."""
    colours = ("Gray",) if channels == 1 else ("Gray", "YCbCr", "RGB")
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        # Larger ones PIL refuses or warns of.
        if space not in colours or height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        pixels = simplejpeg.decode_jpeg(content, "GRAY" if channels == 1 else "RGB")
    except ValueError:
        return None
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _by_pillow(file: Image.Image, channels: int) -> Tensor:
    # PIL also has 16 bits of a PNG or a PGM as whole numbers of 32.
    if file.mode == "F" or (file.mode == "I" and file.format not in ("PNG", "PPM")):
        raise ValueError("floats or numbers of 32 bits do not say what is white: save 8 or 16")
    file.load()
    image: Image.Image = file
    if image.mode.startswith("I"):
        deep = np.asarray(image)
        grey = (deep >> 8).astype(np.uint8)
        grey[deep == image.info.get("transparency", -1)] = 255
        image = Image.fromarray(grey)
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def _orientation(file: Image.Image) -> int:
    """How the camera was held, from 1 to 8. What cannot be read says nothing: upright."""
    try:
        found: int = file.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1
    return found if found in range(2, 9) else 1


def _upright(image: Tensor, orientation: int) -> Tensor:
    """The image (C, H, W) turned as its orientation says, by EXIF's table of row 0 and column 0."""
    if orientation in SIDEWAYS:
        image = image.transpose(1, 2)
    axes = {2: [2], 3: [1, 2], 4: [1], 6: [2], 7: [1, 2], 8: [1]}.get(orientation)
    return image if axes is None else image.flip(axes)


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file as `decode` gives it, from its header."""
    try:
        # Of a path it maps some TIFFs, and would turn them twice.
        with path.open("rb") as stream, Image.open(stream) as file:
            if file.format == "TIFF":
                # PIL turns a TIFF while decoding, and before that its versions differ in the size.
                file.load()
            width, height = file.size
            sideways = _orientation(file) in SIDEWAYS
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
    # Its own words name a place in memory.
    unknown = isinstance(error, UnidentifiedImageError)
    reason = "it is no image of a kind that is read" if unknown else error
    return Undecodable(f"{path} cannot be decoded: {reason}")
