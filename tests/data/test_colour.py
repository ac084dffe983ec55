"""Mean, principal colours and the colour shift, against numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from repro.data import statistics as room
from repro.data.inputs import normalise
from repro.data.split import Split
from repro.data.statistics import Statistics, compute, shifts, statistics
from tests.data.conftest import arrays


def test_each_image_weighs_the_same_whatever_its_size(photographs: Split) -> None:
    pixels = [photographs.images[n].reshape(3, -1).numpy() / 255 for n in range(7)]
    mean = np.mean([one.mean(axis=1) for one in pixels], axis=0)
    spread = [(one - mean[:, None]) @ (one - mean[:, None]).T / one.shape[1] for one in pixels]
    found = compute(photographs, progress=False)
    vectors = np.array(found.eigenvectors)
    assert np.allclose(found.mean, 255 * mean)
    assert np.allclose(vectors @ np.diag(found.eigenvalues) @ vectors.T, np.mean(spread, axis=0))
    assert np.allclose(vectors.T @ vectors, np.eye(3))


def test_the_result_is_kept_and_a_damaged_file_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = statistics(arrays(4, 3), tmp_path, "key", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(room, "compute", lambda *_: pytest.fail("computed again"))
        assert statistics(arrays(4, 3), tmp_path, "key", progress=False) == first
    (file,) = tmp_path.iterdir()
    # Other images of that name, as after a file of conf/ was edited.
    assert statistics(arrays(5, 3), tmp_path, "key", progress=False) != first
    whole = file.read_bytes()
    assert capsys.readouterr().err == ""
    # Also another mean, as after one bit has flipped.
    digit = next(place for place, byte in enumerate(whole) if 48 <= byte <= 56)
    other = whole[:digit] + bytes([whole[digit] + 1]) + whole[digit + 1 :]
    for damage in (whole[:40], b"{}", other):
        file.write_bytes(damage)
        assert statistics(arrays(4, 3), tmp_path, "key", progress=False) == first
        assert str(file) in capsys.readouterr().err
        assert file.read_bytes() == whole


def test_a_shift_is_the_sum_that_the_paper_writes() -> None:
    vectors = ((0.6, -0.8, 0.0), (0.8, 0.6, 0.0), (0.0, 0.0, 1.0))
    colours = Statistics((0.0, 0.0, 0.0), (0.1, 0.2, 0.3), vectors)
    found = shifts(np.array([[1.0, -2.0, 0.5]]), colours, 0.1)
    p = np.array(vectors)
    alpha = (0.1, -0.2, 0.05)
    by_hand = 255 * sum(p[:, i] * (alpha[i] * colours.eigenvalues[i]) for i in range(3))
    assert np.allclose(found, by_hand)


@pytest.mark.parametrize("input_range", [255.0, 1.0])
def test_the_input_is_grey_levels_less_the_mean_plus_the_shift(input_range: float) -> None:
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    mean, shift = (100.0, 110.0, 120.0), torch.tensor([[1.0, 2.0, 3.0], [-4.0, 0.0, 4.0]])
    found = normalise(images, mean, input_range, shift)
    assert found.dtype == torch.float32
    for n in range(2):
        for c in range(3):
            by_hand = (images[n, c].double() - mean[c] + shift[n, c]) * input_range / 255
            assert torch.allclose(found[n, c].double(), by_hand, atol=1e-4)
    plain = normalise(images, mean, input_range)
    assert torch.equal(plain, normalise(images, mean, input_range, torch.zeros(2, 3)))
