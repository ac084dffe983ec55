"""Decoding, against what was drawn into each file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from repro.data.images import FileImages, decode, upright_size
from repro.data.split import Split
from repro.errors import RunError
from tests.data.conftest import save

RED = (200, 10, 30)


def middle(path: Path) -> list[int]:
    tensor = decode(path, 3)
    assert tuple(tensor.shape) == (3, *upright_size(path))
    values: list[int] = tensor[:, tensor.shape[1] // 2, tensor.shape[2] // 2].tolist()
    return values


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "tiff", "webp", "bmp", "ppm"])
def test_every_format_gives_its_colour(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"image.{ending}"
    Image.new("RGB", (30, 20), RED).save(path)
    assert middle(path) == pytest.approx(RED, abs=4)


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (9, 7), 1)
    image.putpalette([0, 0, 0, *RED])
    image.save(tmp_path / "solid.png")
    image.save(tmp_path / "clear.png", transparency=1)
    image.save(tmp_path / "half.png", transparency=bytes([255, 127]))
    assert middle(tmp_path / "solid.png") == list(RED)
    assert middle(tmp_path / "clear.png") == [255, 255, 255]
    assert middle(tmp_path / "half.png") == pytest.approx((228, 133, 143), abs=1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("ending", "mode"), [("jpg", "RGB"), ("png", "RGB"), ("tiff", "RGB"), ("tiff", "L")]
)
def test_orientation_is_followed_by_pixels_and_sizes(
    tmp_path: Path, ending: str, mode: str, orientation: int
) -> None:
    # The upright picture is 20 high, 30 wide and white in its upper left quarter only.
    upright = np.zeros((20, 30, 3), dtype=np.uint8)
    upright[:10, :15] = 255
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    path = tmp_path / f"image.{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).convert(mode).save(path, exif=exif)
    tensor = decode(path, 3)
    assert tuple(tensor.shape[1:]) == upright_size(path) == (20, 30)
    means = [tensor[:, y : y + 10, x : x + 15].float().mean() for y in (0, 10) for x in (0, 15)]
    assert means[0] > 240
    assert max(means[1:]) < 20


def test_a_png_may_say_much_beside_its_pixels(tmp_path: Path) -> None:
    said = PngInfo()
    said.add_text("workflow", "a" * 2_000_000, zip=True)
    Image.new("RGB", (9, 7), (255, 0, 0)).save(tmp_path / "a.png", pnginfo=said)
    assert decode(tmp_path / "a.png", 3)[:, 3, 4].tolist() == [255, 0, 0]
    assert upright_size(tmp_path / "a.png") == (7, 9)


@pytest.mark.parametrize("before", [b"", b"\xff\xe2\x00\x06\xff\xda??", b"\xff\xff\xff"])
def test_orientation_is_found_wherever_a_jpeg_may_say_it(tmp_path: Path, before: bytes) -> None:
    # XMP instead of EXIF, behind a segment that holds what looks like the picture's start, or
    # behind fill bytes.
    path = tmp_path / "image.jpg"
    save(tmp_path / "noise.png", 20, 31)
    Image.open(tmp_path / "noise.png").save(path, quality=90)
    xmp = b'http://ns.adobe.com/xap/1.0/\0<rdf:Description tiff:Orientation="6"/>'
    segment = b"\xff\xe1" + (2 + len(xmp)).to_bytes(2, "big") + xmp
    content = path.read_bytes()
    path.write_bytes(content[:2] + before + segment + content[2:])
    with Image.open(path) as file:
        expected = np.array(ImageOps.exif_transpose(file))
    assert expected.shape == (31, 20, 3)
    assert np.array_equal(decode(path, 3).permute(1, 2, 0).numpy(), expected)


def test_what_cannot_be_decoded_is_said_in_one_line_with_its_path(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.png", 50, 50).read_bytes()
    Image.open(tmp_path / "whole.png").save(tmp_path / "whole.jpg")
    photograph = (tmp_path / "whole.jpg").read_bytes()
    bad = {
        "truncated.png": whole[: len(whole) // 2],
        "cut.jpg": photograph[: len(photograph) * 9 // 10],
        "empty.jpg": b"",
        "text.jpg": b"<html>404</html>",
        "absent.png": None,
    }
    for kind in (np.float32, np.int32):
        # Whose pixels do not say what is white.
        Image.fromarray(np.ones((7, 9), dtype=kind)).save(tmp_path / "deep", "TIFF")
        bad[f"{kind.__name__}.png"] = (tmp_path / "deep").read_bytes()
    for name, content in bad.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        for channels in (1, 3):
            with pytest.raises(RunError) as caught:
                decode(path, channels)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises(RunError, match=r"text\.jpg"):
        FileImages([tmp_path / "text.jpg"], 3).sizes()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "I;16"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3), (2, 1), (13, 11)])
def test_every_pixel_is_the_one_that_was_saved(
    tmp_path: Path, mode: str, height: int, width: int
) -> None:
    bands = {"RGB": 3, "L": 1, "RGBA": 4, "LA": 2, "I;16": 1}[mode]
    kind = np.uint16 if mode == "I;16" else np.uint8
    pixels = np.random.default_rng(height).integers(
        0, np.iinfo(kind).max, (height, width, bands), dtype=kind, endpoint=True
    )
    path = tmp_path / "image.png"
    Image.fromarray(pixels[..., 0] if bands == 1 else pixels).save(path)
    colour = pixels >> 8 if mode == "I;16" else pixels[..., :3] if bands > 2 else pixels[..., :1]
    exact = colour.astype(float)
    if bands in (2, 4):
        opaque = pixels[..., -1:] / 255
        exact = exact * opaque + 255 * (1 - opaque)
    in_colour = np.broadcast_to(exact, (height, width, 3)).transpose(2, 0, 1)
    assert np.abs(decode(path, 3).numpy() - in_colour).max() <= (bands in (2, 4))
    luminance = np.tensordot([0.299, 0.587, 0.114], in_colour, 1)
    assert np.abs(decode(path, 1)[0].numpy() - luminance).max() <= 1.5
    assert upright_size(path) == (height, width)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:0"])
def test_pixels_of_a_jpeg_are_pils(
    tmp_path: Path, sampling: str, progressive: bool, mode: str
) -> None:
    path = tmp_path / "image.jpg"
    # Coarse noise: every frequency, and colours that leave the range of RGB once compressed.
    noise = np.random.default_rng(0).integers(0, 256, (21, 33, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((99, 63), Image.Resampling.BICUBIC).convert(mode)
    image.save(path, quality=80, subsampling=sampling, progressive=progressive)
    with Image.open(path) as file:
        expected = {1: np.array(file.convert("L"))[..., None], 3: np.array(file.convert("RGB"))}
    for channels in (1, 3):
        assert np.array_equal(decode(path, channels).permute(1, 2, 0).numpy(), expected[channels])


def test_images_are_enlarged_alike_from_files_and_in_memory(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{index}.png", 20, 24, seed=index) for index in range(4)]
    split = Split(FileImages(paths, 3), np.zeros(4, dtype=np.int64), [p.name for p in paths])
    lazy, held = split.images.enlarged(30), split.in_memory().images.enlarged(30)
    assert lazy.sizes().tolist() == held.sizes().tolist() == [[30, 36]] * 4
    assert all(torch.equal(lazy[index], held[index]) for index in range(4))
    assert split.images.enlarged(8)[0].shape == (3, 20, 24)
