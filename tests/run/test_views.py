"""A computed view against the same steps done by hand, one image at a time."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import five_crop

from repro.data.images import FileImages
from repro.data.rescale import rescale
from repro.data.split import Split
from repro.model.init import initialise
from repro.model.vgg import VGG
from repro.protocol.protocols import View
from repro.run.views import EvaluationOptions, centre_error, compute, describe_images, grid
from tests.model.test_vgg import spec

SHAPES = [(60, 40), (40, 60), (50, 50), (60, 40), (33, 97), (120, 80)]


@pytest.fixture
def split(tmp_path: Path) -> Split:
    random = np.random.default_rng(0)
    paths = []
    for number, shape in enumerate(SHAPES):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(random.integers(256, size=(*shape, 3), dtype=np.uint8)).save(paths[-1])
    labels = np.arange(len(paths)) % 3
    return Split(FileImages(paths, 3), labels, tuple(path.name for path in paths))


@pytest.fixture
def net() -> VGG:
    net = VGG(spec("A", 1 / 16, 32, classes=3), 0.5)
    initialise(net, "he", net.spec, seed=0)
    return net.eval()


def prepare(images: Tensor, device: str = "cpu") -> Tensor:
    return images.to(device).float() / 255 - 0.5


def by_hand(net: VGG, path: Path, q: int, mirrored: bool) -> Tensor:
    """Section 3.2 for one image: rescale, slide the classifier over the map, average, soft-max."""
    side = {224: 32, 256: 37, 384: 55}[q]
    with Image.open(path) as image:
        width, height = image.size
        scale = side / min(width, height)
        size = [int(np.floor(edge * scale + 0.5)) for edge in (height, width)]
        pixels = torch.tensor(np.array(image)).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        pixels.float(), size=size, mode="bilinear", antialias=True
    )
    resized = resized.round().clamp(0, 255)
    if mirrored:
        resized = resized.flip(-1)
    with torch.no_grad():
        maps = net.features(prepare(resized))
        # At this crop the classifier sees one cell.
        cells = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
        return net.classifier(cells).mean(dim=0).softmax(dim=0)


@pytest.mark.parametrize(("kind", "tried"), [("dense", False), ("grid", False), ("centre", True)])
def test_no_algorithm_is_tried_out_for_images_of_many_shapes(
    kind: str, tried: bool, split: Split, net: VGG, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As with `fast=true`.
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    found = set()

    def notes(images: Tensor) -> Tensor:
        found.add(torch.backends.cudnn.benchmark)
        return prepare(images)

    compute(net, View(kind, 256, False), split, EvaluationOptions(notes))
    assert found == {tried}
    assert torch.backends.cudnn.benchmark


@pytest.mark.parametrize(
    ("q", "mirrored", "batch"), [(224, False, 1), (256, True, 8), (384, False, 8)]
)
def test_a_dense_view_is_section_3_2(
    split: Split, net: VGG, q: int, mirrored: bool, batch: int, device: str
) -> None:
    net.to(device)
    ready = partial(prepare, device=device)
    view = compute(net, View("dense", q, mirrored), split, EvaluationOptions(ready, batch=batch))
    net.cpu()
    assert isinstance(split.images, FileImages)
    for index, row in enumerate(view.posteriors):
        # uint8 resizing and float resizing round a few grey levels differently
        torch.testing.assert_close(
            torch.as_tensor(row),
            by_hand(net, split.images.path(index), q, mirrored),
            atol=2e-3,
            rtol=0,
        )
    assert view.ids.tolist() == [f"{number}.png" for number in range(len(SHAPES))]
    np.testing.assert_array_equal(view.labels, split.labels)


def test_a_centre_view_is_the_net_on_the_centre_crop(split: Split, net: VGG) -> None:
    view = compute(net, View("centre", 224, False), split, EvaluationOptions(prepare, batch=4))
    square = split.images[2]
    resized = torch.nn.functional.interpolate(
        square[None].float(), size=[32, 32], mode="bilinear", antialias=True
    ).round()
    with torch.no_grad():
        expected = net(prepare(resized)).softmax(dim=1)[0]
    torch.testing.assert_close(torch.as_tensor(view.posteriors[2]), expected, atol=2e-3, rtol=0)


def test_the_validation_error_counts_wrong_centre_crops(split: Split, net: VGG) -> None:
    view = compute(net, View("centre", 256, False), split, EvaluationOptions(prepare, batch=4))
    wrong = (view.posteriors.argmax(axis=1) != split.labels).mean()
    assert centre_error(net, split, 37, EvaluationOptions(prepare)) == pytest.approx(100 * wrong)


def test_a_net_that_cannot_tell_is_wrong(split: Split, net: VGG) -> None:
    torch.nn.init.zeros_(net.linears[-1].weight)
    assert centre_error(net, split, 37, EvaluationOptions(prepare)) == 100.0, "a tie is an error"


def test_a_grid_view_is_the_mean_over_25_crops(split: Split, net: VGG) -> None:
    view = compute(net, View("grid", 256, True), split, EvaluationOptions(prepare, batch=4))
    assert isinstance(split.images, FileImages)
    for index, row in enumerate(view.posteriors):
        with Image.open(split.images.path(index)) as image:
            size = [37 * edge / min(image.size) for edge in image.size]
            resized = image.resize(
                [int(np.floor(edge + 0.5)) for edge in size], Image.Resampling.BILINEAR
            )
            flipped = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        crops = []
        for top in np.linspace(0, flipped.height - 32, 5).round().astype(int):
            for left in np.linspace(0, flipped.width - 32, 5).round().astype(int):
                crop = flipped.crop((left, top, left + 32, top + 32))
                crops.append(torch.tensor(np.array(crop)).permute(2, 0, 1))
        with torch.no_grad():
            expected = net(prepare(torch.stack(crops))).softmax(dim=1).mean(dim=0)
        torch.testing.assert_close(torch.as_tensor(row), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 50), (55, 38), (120, 33)])
def test_the_grids_corners_and_centre_are_torchvisions_five_crops(height: int, width: int) -> None:
    image = torch.arange(height * width).reshape(1, height, width)
    ours = [image[:, top : top + 32, left : left + 32] for top, left in grid(height, width, 32)]
    theirs = five_crop(image, [32, 32])
    for number, crop in zip((0, 4, 20, 24, 12), theirs, strict=True):
        assert torch.equal(ours[number], crop)


@pytest.mark.parametrize("q", [256, 384])
def test_windows_are_crops_at_the_dense_positions(split: Split, net: VGG, q: int) -> None:
    """By brute force: every 32 pixels a crop, zeros where it hangs over, scores averaged."""
    view = compute(net, View("windows", q, False), split, EvaluationOptions(prepare, batch=8))
    side = {256: 37, 384: 55}[q]
    for index in range(len(split.ids)):
        image = prepare(rescale(split.images[index], side)[None])
        rows, columns = (-(-edge // 32) for edge in image.shape[-2:])
        padded = torch.zeros(1, 3, rows * 32, columns * 32)
        padded[..., : image.shape[-2], : image.shape[-1]] = image
        scores = [
            net(padded[..., 32 * row : 32 * row + 32, 32 * column : 32 * column + 32])
            for row in range(rows)
            for column in range(columns)
        ]
        expected = torch.stack(scores).mean(dim=0).softmax(dim=1)[0]
        torch.testing.assert_close(torch.as_tensor(view.posteriors[index]), expected.detach())


@pytest.mark.parametrize("kind", ["dense", "grid", "centre", "windows"])
def test_what_does_not_fit_into_memory_is_judged_in_smaller_batches(
    split: Split, net: VGG, kind: str, device: str
) -> None:
    net.to(device)
    view, said, ready = View(kind, 256, True), list[str](), partial(prepare, device=device)
    whole = compute(net, view, split, EvaluationOptions(ready, batch=8))
    error = centre_error(net, split, 37, EvaluationOptions(ready))

    def full(layer: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = net.features[0].register_forward_pre_hook(full)
    try:
        parts = compute(net, view, split, EvaluationOptions(ready, batch=8, say=said.append))
        assert said[0].startswith("out of memory with")
        assert centre_error(net, split, 37, EvaluationOptions(ready, say=said.append)) == error
    finally:
        hook.remove()
    np.testing.assert_allclose(parts.posteriors, whole.posteriors, atol=1e-6)


@pytest.mark.parametrize("kind", ["dense", "grid", "centre"])
def test_scores_that_are_not_finite_say_nothing_of_their_image(
    split: Split, net: VGG, kind: str
) -> None:
    said: list[str] = []
    calls = iter(range(100))

    def overflows(images: Tensor) -> Tensor:
        return prepare(images) * (torch.inf if next(calls) == 0 else 1)

    whole = compute(net, View(kind, 256, False), split, EvaluationOptions(prepare, batch=1))
    options = EvaluationOptions(overflows, batch=1, say=said.append)
    view = compute(net, View(kind, 256, False), split, options)
    blank = (view.posteriors == np.float32(1 / 3)).all(axis=1)
    assert blank.sum() == 1
    assert said == [f"{kind}-Q256: 1 images have scores that are not finite"]
    np.testing.assert_array_equal(view.posteriors[~blank], whole.posteriors[~blank])


def test_a_descriptor_of_one_cell_is_fc7_of_the_crop_and_its_mirror(net: VGG, split: Split) -> None:
    found = describe_images(net, View("descriptor", 224, True), split, EvaluationOptions(prepare))
    square = SHAPES.index((50, 50))
    crop = prepare(rescale(split.images[square], 32)[None])
    with torch.no_grad():
        fc7 = [net.classifier[:-1](net.features(one).flatten(1)) for one in (crop, crop.flip(-1))]
    assert found.descriptors.shape == (len(SHAPES), len(fc7[0][0]))
    assert found.descriptors[square] == pytest.approx(torch.cat(fc7).mean(dim=0).numpy(), abs=1e-5)
    assert found.descriptors[square].min() >= 0, "rectified"
