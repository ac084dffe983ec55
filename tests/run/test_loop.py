"""The loop against the formulas of Section 3.1, written out by hand."""

import math
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from repro.config.schema import EAGER, Arch, Config, Size
from repro.data.images import ArrayImages
from repro.data.inputs import normalise
from repro.data.loader import TrainingCrops
from repro.data.split import Split
from repro.data.statistics import compute
from repro.errors import RunError
from repro.model import reading
from repro.model.init import initialise
from repro.model.vgg import VGG
from repro.run.distributed import ALONE, World
from repro.run.interruption import Interrupted, Stop
from repro.run.loop import Training
from repro.run.progress import Chance, Outcome
from repro.store.files import Content
from repro.store.folder import Folder
from tests.conftest import composed

LABELS: NDArray[np.int64] = np.arange(22) % 3
PIXELS = np.random.default_rng(0).integers(0, 256, (22, 1, 14, 14), np.uint8)
SPLIT = Split(ArrayImages(torch.as_tensor(PIXELS)), LABELS, tuple(map(str, range(22))))
COLOURS = compute(SPLIT, progress=False)
SURE = Chance(error=66.7, threshold=50.0)


def prepare(images: Tensor, shift: Tensor) -> Tensor:
    return normalise(images, COLOURS.mean, 255, shift).double()


class Trial:
    """A small net in float64, its crops, and all that training needs."""

    def __init__(
        self, path: Path, *words: str, batch_norm: bool = False, device: str = "cpu"
    ) -> None:
        base = ["size=tiny", "recipe=smoke", "recipe.batch=8", "progress=false", "seed=3"]
        self.config: Config = composed(*base, "precision=float64", *words)
        self.config.arch = Arch("small", [["conv3-64"]], "maxpool2/2", ["FC-64", "FC-classes"])
        self.config.arch.batch_norm = batch_norm
        size = Size("small", crop=8, poolings=5, width=0.125)
        spec = reading.spec_of(self.config.arch, size, channels=1, classes=3)
        self.net = VGG(spec, dropout=0.5).double()
        initialise(self.net, "glorot", spec, seed=0)
        self.net.to(device)
        self.batches = TrainingCrops(
            SPLIT,
            **{"smin": 9, "smax": 12, "crop": 8, "mirror": True, "workers": 0},
            batch=self.config.recipe.batch,
            seed=self.config.seed,
            colour=(COLOURS, 0.1),
        )
        path.mkdir(exist_ok=True)
        self.path, self.stop = path, Stop()
        self.said: list[str] = []

    def training(
        self,
        validate: Callable[[], float] = lambda: 40.0,
        test: Callable[[], float] | None = None,
        world: World = ALONE,
    ) -> Training:
        folder = Folder(self.path, lambda: None)
        return Training(
            *(self.net, self.batches, self.config, folder, self.stop),
            prepare=prepare,
            validate=validate,
            test=test,
            chance=SURE,
            say=self.said.append,
            world=world,
        )

    def weights(self) -> dict[str, Tensor]:
        return {name: t.detach().clone() for name, t in self.net.state_dict().items()}


def by_hand(trial: Trial, epochs: int) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Section 3.1 in plain tensors: momentum, weight decay, a linearly falling rate."""
    recipe, config = trial.config.recipe, trial.config
    w = {name: t.requires_grad_() for name, t in trial.weights().items()}
    velocity = {name: torch.zeros_like(t) for name, t in w.items()}
    steps, iteration, rows = math.ceil(len(LABELS) / recipe.batch), 0, []
    for epoch in range(epochs):
        loss_sum, wrong = 0.0, 0
        for images, shift, labels in trial.batches.epoch(epoch):
            rate = recipe.learning_rate * (1 - iteration / (steps * recipe.epochs))
            if recipe.warmup:
                rate = min(rate, recipe.learning_rate * (iteration + 1) / recipe.warmup)
            torch.manual_seed(config.seed * 1_000_003 + iteration)
            x = prepare(images, shift)
            x = functional.conv2d(x, w["features.0.weight"], w["features.0.bias"], padding=1)
            x = functional.max_pool2d(functional.relu(x), 2, ceil_mode=True).flatten(1)
            x = functional.linear(x, w["classifier.0.weight"], w["classifier.0.bias"])
            x = functional.dropout(functional.relu(x), 0.5)
            x = functional.linear(x, w["classifier.3.weight"], w["classifier.3.bias"])
            loss = -functional.log_softmax(x, 1)[torch.arange(len(labels)), labels].mean()
            gradients = torch.autograd.grad(loss, list(w.values()))
            if recipe.clip is not None:
                norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
                # The 1e-6 is torch's.
                gradients = tuple(g * min(1, recipe.clip / (norm + 1e-6)) for g in gradients)
            for (name, weight), gradient in zip(w.items(), gradients, strict=True):
                decayed = gradient + recipe.weight_decay * weight.detach()
                velocity[name] = recipe.momentum * velocity[name] + decayed
                w[name] = (weight.detach() - rate * velocity[name]).requires_grad_()
            loss_sum += loss.item() * len(labels)
            wrong += int((x.argmax(1) != labels).sum())
            iteration += 1
        rows.append(
            {
                "epoch": epoch + 1,
                "iterations": iteration,
                "learning_rate": rate,
                "train_loss": loss_sum / len(LABELS),
                "train_error": 100 * wrong / len(LABELS),
            }
        )
    return {name: t.detach() for name, t in w.items()}, rows


@pytest.mark.parametrize("words", [[], ["recipe.warmup=4"], ["recipe.clip=0.5"]])
def test_two_epochs_are_those_of_the_formulas(words: list[str], tmp_path: Path) -> None:
    trial = Trial(tmp_path, *words)
    expected, rows = by_hand(trial, epochs=2)
    outcome = trial.training().run()
    for name, weight in trial.weights().items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-9, atol=1e-11)
    assert len(outcome.progress.rows) == 2
    for row, by_formula in zip(outcome.progress.rows, rows, strict=True):
        assert {key: row[key] for key in by_formula} == pytest.approx(by_formula, rel=1e-9)
        assert row["validation_error"] == 40.0


@pytest.mark.parametrize("images", [1, 3, 100])
def test_gradients_of_micro_batches_are_those_of_the_batch(
    images: int, device: str, tmp_path: Path
) -> None:
    # 22 images in batches of 8: the last has 6. Half of the FC layer is dropped.
    words = ["recipe.clip=0.5", f"micro_batch={images}"]
    whole = Trial(tmp_path / "whole", *words[:1], device=device)
    parts = Trial(tmp_path / "parts", *words, device=device)
    sizes: list[int] = []
    parts.net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    rows = [trial.training().run().progress.rows for trial in (whole, parts)]
    assert max(sizes) == min(images, 8)
    assert sum(sizes) == 2 * 22
    for name, weight in whole.weights().items():
        torch.testing.assert_close(parts.weights()[name], weight, rtol=0, atol=1e-10)
    for one, other in zip(*rows, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-10)
        assert one["train_error"] == other["train_error"]


@pytest.mark.parametrize(("at_once", "way_out"), [(4, "micro_batch=2"), (1, "take a smaller size")])
def test_training_out_of_memory_says_what_takes_less(
    at_once: int, way_out: str, tmp_path: Path
) -> None:
    trial = Trial(tmp_path, f"micro_batch={at_once}")

    def full(_: nn.Module, inputs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    trial.net.register_forward_pre_hook(full)
    with pytest.raises(RunError, match=f"{at_once} training images of .*{way_out}"):
        trial.training().run()


def test_a_plateau_of_validation_errors_lowers_the_rate(tmp_path: Path) -> None:
    words = ["recipe.schedule=plateau", "recipe.patience=2", "recipe.drops=2", "recipe.epochs=20"]
    trial = Trial(tmp_path, "recipe.learning_rate=0.001", *words)
    errors = iter([60.0, 50.0, 50.0, 55.0, 49.0, 49.0, 49.0, 49.0, 49.0, 1.0])
    outcome = trial.training(lambda: next(errors)).run()
    rates = [row["learning_rate"] for row in outcome.progress.rows]
    assert rates == pytest.approx([1e-3] * 4 + [1e-4] * 3 + [1e-5] * 2)
    assert outcome.outcome == "trained", "by the last error, 49%, against the threshold of 50%"
    assert (tmp_path / "log.csv").read_text().startswith(",".join(outcome.progress.rows[0]) + "\n")


def test_chance_is_the_commonest_class_and_luck_three_deviations_below() -> None:
    labels = np.array([0] * 70 + [1] * 20 + [2] * 10)
    found = Chance.of(labels, 400)
    assert found.error == pytest.approx(30.0)
    assert found.threshold == pytest.approx(100 * (0.3 - 3 * math.sqrt(0.3 * 0.7 / 400)))
    assert Chance.at(0.5, 8).threshold > 0, "a net without any error has learnt"


@pytest.mark.parametrize(
    ("error", "outcome"), [(49.9, "trained"), (50.0, "did not learn"), (66.7, "did not learn")]
)
def test_what_is_no_better_than_luck_did_not_learn(
    error: float, outcome: str, tmp_path: Path
) -> None:
    assert Trial(tmp_path).training(lambda: error).run().outcome == outcome


def test_a_net_that_is_trained_needs_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Folder.write

    def full(folder: Folder, name: str, content: Content) -> None:
        if name.startswith("checkpoint"):
            raise RunError("the disk is full")
        write(folder, name, content)

    monkeypatch.setattr(Folder, "write", full)
    trial = Trial(tmp_path)
    assert trial.training().run().outcome == "trained"
    assert any("the disk is full" in line for line in trial.said)


@pytest.mark.parametrize("late", [0, 1])
def test_a_loss_that_is_not_finite_ends_training(late: int, tmp_path: Path) -> None:
    training = Trial(tmp_path, "recipe.learning_rate=1e200").training()
    training.late = late
    # An attempt that was ahead of its checkpoint left it.
    (tmp_path / "log.csv").write_text("epoch,train_error,validation_error\n1,2,3\n")
    ended = training.run()
    assert not (tmp_path / "log.csv").exists()
    assert (ended.outcome, ended.progress.rows) == ("diverged", [])
    # The first step's loss is that of the first weights.
    assert ended.reason.endswith("at epoch 1, iteration 2")
    assert ended.progress.iteration == 2


def untimed(row: dict[str, float]) -> dict[str, float]:
    return {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")}


def _ends(trial: Trial, training: Callable[[], Training]) -> Outcome:
    """Train to the end, anew in each process as it were, however often it is interrupted."""
    for _ in range(20):
        try:
            return training().run()
        except Interrupted:
            for weight in trial.net.parameters():
                nn.init.ones_(weight)
            trial.stop = Stop()
    pytest.fail("never ends")


@pytest.mark.parametrize("late", [0, 1])
@pytest.mark.parametrize("stops", [[2], [3], [1, 2, 3, 4, 5, 6]])
def test_an_interrupted_training_goes_on_bit_for_bit(
    stops: list[int], late: int, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Trial(tmp_path / "whole", device=device)
    expected = whole.training().run()
    cut = Trial(tmp_path / "cut", device=device)
    step = Training.step

    def stopping(training: Training, *batch: Tensor) -> None:
        step(training, *batch)
        if training.progress.iteration in stops:
            cut.stop.signals.add(signal.SIGTERM)

    monkeypatch.setattr(Training, "step", stopping)

    def training() -> Training:
        made = cut.training()
        made.late = late
        return made

    ended = _ends(cut, training)
    assert all(torch.equal(t, cut.weights()[name]) for name, t in whole.weights().items())
    for row, other in zip(expected.progress.rows, ended.progress.rows, strict=True):
        assert list(row) == list(other)
        assert untimed(row) == untimed(other)
    goes_on = [line for line in cut.said if "goes on at epoch" in line]
    if not late:
        assert len(goes_on) == len(stops)
        epoch, done = divmod(stops[0], 3)
        assert goes_on[0].startswith(f"cut goes on at epoch {epoch + 1}") or not done


def test_frozen_features_stay_as_they_are(tmp_path: Path) -> None:
    trial = Trial(tmp_path, "finetune=fc", batch_norm=True)
    before = trial.weights()
    trial.training().run()
    after = trial.weights()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    # Neither the weights nor the running means of batch normalisation.
    assert changed == {f"classifier.{n}.{kind}" for n in (0, 3) for kind in ("weight", "bias")}


MODES = ("default", "reduce-overhead", "max-autotune")


@pytest.mark.parametrize(
    ("device", "mode"),
    [
        pytest.param("cpu", "default", marks=pytest.mark.slow),
        *(pytest.param("cuda", mode, marks=pytest.mark.gpu) for mode in MODES),
    ],
)
def test_a_compiled_net_trains_as_the_formulas_say(device: str, mode: str, tmp_path: Path) -> None:
    names, word = ("compiled", "eager"), f"compile={mode}"
    trial, eager = (Trial(tmp_path / name, word, device=device) for name in names)
    eager.config.compile = EAGER
    trial.training().run()
    eager.training().run()
    for name, weight in eager.weights().items():
        torch.testing.assert_close(trial.weights()[name], weight, rtol=1e-9, atol=1e-12)


def test_a_last_batch_of_another_size_is_compiled_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, sizes = torch.compile, list[int]()

    def counts(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        sizes.extend(len(one) for one in inputs if not isinstance(one, nn.Parameter))
        return graph.forward

    def compiles(net: nn.Module, *, mode: str, dynamic: bool) -> object:
        return whole(net, backend=counts, dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", compiles)
    # Of 22 images, two epochs of batches of 8, 8 and 6.
    Trial(tmp_path, "compile=default").training().run()
    assert set(sizes) == {8, 6}
    # A graph, or as many as dropout, which is left out, divides the net into.
    assert sizes.count(8) == sizes.count(6)


def test_in_bf16_weights_gradients_and_loss_are_float32(device: str, tmp_path: Path) -> None:
    trial = Trial(tmp_path, "precision=bf16", device=device)
    trial.net.float()
    training = trial.training()
    training.prepare = lambda images, shift: prepare(images.to(device), shift.to(device)).float()
    seen: list[torch.dtype] = []
    trial.net.register_forward_hook(lambda net, inputs, scores: seen.append(scores.dtype))
    images, shift, labels = next(trial.batches.epoch(0))
    sums = training.gradients(images, shift, labels.to(device), len(images))
    training.optimiser.step()
    momenta = [one for state in training.optimiser.state.values() for one in state.values()]
    weights = list(trial.net.parameters())
    kinds = {one.dtype for one in (*weights, *momenta, *(w.grad for w in weights), sums)}
    assert (seen, kinds) == ([torch.bfloat16], {torch.float32})
