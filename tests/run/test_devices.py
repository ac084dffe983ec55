"""What a CUDA device changes: runs by their commands, memory, streams and workers.

What can run on a CPU does, by the same test; the rest is skipped without a CUDA device. Other rooms
have such tests too: `python -m pytest -m gpu` runs all of them.
"""

import gc
import itertools
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from repro.model import reading
from repro.model.cost import training_memory
from repro.model.vgg import VGG
from repro.run.device import Batch, computing_in, memory_format, torch_settings, uploaded
from repro.run.loop import Training
from repro.run.timing import training_step
from tests.conftest import composed, folders, run, same
from tests.data.conftest import fill
from tests.run.test_loop import Trial

LATE = 50_000_000
"""Cycles that a device sleeps: some hundredths of a second."""


def stopping(patch: pytest.MonkeyPatch) -> None:
    """Have a run be asked to stop, as by a signal, in the middle of its second epoch."""
    step = Training.step

    def steps(training: Training, *batch: Tensor) -> None:
        step(training, *batch)
        if (training.progress.epoch, training.progress.step) == (1, 3):
            training.stop.signals.add(signal.SIGTERM)

    patch.setattr(Training, "step", steps)


@pytest.mark.parametrize(
    ("device", "precision", "arch"),
    [
        ("cpu", "bf16", "A-LRN"),
        *(
            pytest.param("cuda", *how, marks=pytest.mark.gpu)
            for how in itertools.product(("float32", "tf32", "bf16"), ("A-LRN", "A-BN"))
        ),
    ],
)
def test_a_run_repeats_bit_for_bit_though_it_was_interrupted(
    device: str, precision: str, arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"arch={arch}", f"device={device}", f"precision={precision}", "test=[centre]"]
    words.append("recipe.dropout=0.5")
    assert run(tmp_path / "whole", *words) == 0
    with monkeypatch.context() as patch:
        stopping(patch)
        assert run(tmp_path / "cut", *words) == 75
    assert list((tmp_path / "cut").glob("*/checkpoint-*"))
    assert run(tmp_path / "cut", *words) == 0
    assert same(*(folders(tmp_path / name)[f"{arch}-S256"] for name in ("whole", "cut")))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_full_size_d_repeats_bit_for_bit(precision: str) -> None:
    config, device = (
        composed("arch=D", "size=paper", f"precision={precision}"),
        torch.device("cuda"),
    )
    net = reading.spec_of(config.arch, config.size, channels=3, classes=1000)

    def trained() -> dict[str, Tensor]:
        torch.manual_seed(0)
        module = VGG(net, 0.5).to(device).to(memory_format=memory_format(config, device))
        step = training_step(module, config, device, 64)
        for _ in range(3):
            step()
        return module.state_dict()

    with torch_settings(config):
        first, second = trained(), trained()
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_views_in_tf32_stand_beside_the_usual_ones_and_say_so(device: str, tmp_path: Path) -> None:
    words = [f"device={device}", "test=[single_scale,centre]"]
    assert run(tmp_path, *words) == run(tmp_path, *words, "test_precision=tf32") == 0
    (folder,) = folders(tmp_path).values()
    for name in ("dense-Q256", "centre-Q256"):
        usual, coarse = (np.load(folder / "views" / f"{name}{end}.npz") for end in ("", "-tf32"))
        assert "precision" not in usual
        # A CPU has none, and computes as before.
        assert ("precision" in coarse) == (device == "cuda")
        atol = 1e-2 if device == "cuda" else 0
        np.testing.assert_allclose(coarse["posteriors"], usual["posteriors"], rtol=0, atol=atol)


@pytest.mark.gpu
def test_a_view_on_cuda_is_that_of_the_cpu(tmp_path: Path) -> None:
    words = ["test=[single_scale,multi_crop,centre,windows]"]
    assert run(tmp_path, *words, "device=cpu") == 0
    (folder,) = folders(tmp_path).values()
    before = {file: np.load(file)["posteriors"] for file in (folder / "views").iterdir()}
    for file in before:
        file.unlink()
    assert run(tmp_path, *words, "device=cuda") == 0
    for file, rows in before.items():
        np.testing.assert_allclose(np.load(file)["posteriors"], rows, rtol=0, atol=1e-4)


@pytest.mark.gpu
def test_products_are_in_tf32_only_where_it_is_asked_for() -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("the device has no tf32")
    matrix, images = torch.randn(1024, 1024).cuda(), torch.randn(8, 64, 32, 32).cuda()
    kernels = torch.randn(64, 64, 3, 3).cuda()

    def errors() -> list[float]:
        """Of a product and of a convolution, as a share of the largest number."""
        found = matrix @ matrix, functional.conv2d(images, kernels)
        exact = matrix.double() @ matrix.double()
        wanted = exact, functional.conv2d(images.double(), kernels.double())
        pairs = zip(found, wanted, strict=True)
        return [float((a - b).abs().max() / b.abs().max()) for a, b in pairs]

    for precision in ("float32", "bf16", "float64"):
        with computing_in(precision):
            assert max(errors()) < 1e-5
    # Whether a convolution then takes it, cuDNN decides.
    with computing_in("tf32"):
        assert errors()[0] > 1e-5


@pytest.mark.gpu
def test_no_batch_is_overwritten_while_it_is_read_nor_read_while_it_is_sent() -> None:
    stream = torch.cuda.Stream()

    def batches() -> Iterator[Batch]:
        for number in range(8):
            with torch.cuda.stream(stream):
                torch.cuda._sleep(LATE)
            yield torch.full((2**20,), number), torch.zeros(1), torch.zeros(1)

    sums = []
    for images, _, _ in uploaded(batches(), torch.device("cuda"), stream):
        torch.cuda._sleep(LATE)
        sums.append(images.sum())
        # Its memory is free for the next one.
        del images
    assert [int(one) for one in sums] == [number * 2**20 for number in range(8)]


@pytest.mark.gpu
def test_memory_stays_flat_over_epochs(tmp_path: Path) -> None:
    reserved: list[int] = []

    def validate() -> float:
        reserved.append(torch.cuda.memory_reserved())
        return 40.0

    Trial(tmp_path, "recipe.epochs=40", device="cuda").training(validate).run()
    assert len(reserved) == 40
    # torch reserves small tensors by 2 MiB, of which one more may be begun.
    assert reserved[-1] <= reserved[2] + 2**21


@pytest.mark.gpu
def test_memory_stays_flat_over_a_sweep_of_compiled_nets(tmp_path: Path) -> None:
    held: list[int] = []
    for arch in ("E", "B", "A"):
        words = [f"arch={arch}", "compile=default", "device=cuda", "test=[centre]"]
        assert run(tmp_path, *words) == 0
        gc.collect()
        held.append(torch.cuda.memory_allocated())
    # The largest net comes first.
    assert max(held[1:]) <= held[0]


@pytest.mark.gpu
def test_a_run_out_of_memory_says_so_and_the_next_one_works(tmp_path: Path) -> None:
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**29) / total)
    try:
        words = ["recipe.batch=2000,16", "recipe.train_images=2000", "data.first_classes=null"]
        status = run(tmp_path, "-m", *words, "size=quarter", "device=cuda", "test=[multi_crop]")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert status == 1
    (failed,) = tmp_path.glob("*/failed.json")
    reason = json.loads(failed.read_text())["reason"]
    assert reason.startswith("out of memory with 2000 training images")
    assert "micro_batch=1000" in reason
    assert len(list(tmp_path.glob("*/result.json"))) == 1


@pytest.mark.gpu
def test_workers_load_images_that_are_forked_after_cuda_began(tmp_path: Path) -> None:
    torch.zeros(1, device="cuda")
    root = fill(tmp_path / "photos", train={"cat": 20, "dog": 20}, val={"cat": 6, "dog": 6})
    words = ["data=imagefolder", f"data.root={root}", "data.first_classes=null", "workers=2"]
    words += ["recipe.train_images=null", "device=cuda", "test=[single_scale]"]
    assert run(tmp_path / "runs", *words) == 0


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("arch", "precision"), [("D", "float32"), ("D", "bf16"), ("A-LRN", "bf16")]
)
def test_a_plan_tells_the_memory_of_training(arch: str, precision: str) -> None:
    words = [f"arch={arch}", "size=paper", "data=imagenet", "recipe=paper", "recipe.batch=32"]
    config, device = composed(*words, f"precision={precision}"), torch.device("cuda")
    net = reading.spec_of(config.arch, config.size, channels=3, classes=1000)
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch_settings(config):
        layout = memory_format(config, device)
        step = training_step(VGG(net, 0.5).to(device).to(memory_format=layout), config, device, 32)
        step()
        step()
        torch.cuda.synchronize()
    held = torch.cuda.max_memory_allocated() - before
    assert held == pytest.approx(sum(training_memory(net, config.recipe, precision)), rel=0.15)
