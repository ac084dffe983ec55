"""A checkpoint brings everything back, bit for bit, or is noticed to be damaged."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from repro.errors import RunError
from repro.run.checkpoint import Checkpoints
from repro.store.files import Content
from repro.store.folder import Folder
from repro.store.runs import CHECKPOINTS

PLACE = {"epoch": 1, "step": 3, "iteration": 11, "loss_sum": 0.1 + 0.2, "schedule": {"best": 1e999}}


def made(optimiser: str, steps: int, seed: int = 0) -> tuple[nn.Module, optim.Optimizer]:
    """A small net in the memory format of training, after some steps."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)
    )
    net = net.to(memory_format=torch.channels_last)
    if optimiser == "sgd":
        rule: optim.Optimizer = optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    else:
        rule = optim.Adam(net.parameters(), 0.1)
    for _ in range(steps):
        step(net, rule)
    return net, rule


def step(net: nn.Module, rule: optim.Optimizer) -> None:
    rule.zero_grad()
    loss: Tensor = net(torch.randn(4, 2, 6, 6)).square().sum()
    loss.backward()
    rule.step()


def tensors(net: nn.Module, rule: optim.Optimizer) -> list[Tensor]:
    states = [state for _, state in sorted(rule.state_dict()["state"].items())]
    return [*net.state_dict().values(), *(s[key] for s in states for key in sorted(s))]


def save(
    path: Path, net: nn.Module, rule: optim.Optimizer, place: dict[str, Any], count: int = 0
) -> None:
    path.mkdir(exist_ok=True)
    checkpoints = Checkpoints(Folder(path, lambda: None), 1.0, print)
    checkpoints.count = count % 2
    checkpoints.save(net, rule, place)
    checkpoints.wait()


def load(
    path: Path, net: nn.Module, rule: optim.Optimizer, say: Callable[[str], Any]
) -> tuple[dict[str, Any], int] | None:
    """The progress, and which generation is written next."""
    checkpoints = Checkpoints(Folder(path, lambda: None), 1.0, say)
    place = checkpoints.load(net, rule)
    return None if place is None else (place, checkpoints.count)


def saved(path: Path, iterations: list[int]) -> None:
    """One checkpoint after another, in turns over both generations."""
    for count, iteration in enumerate(iterations):
        net, rule = made("sgd", steps=1, seed=iteration)
        save(path, net, rule, {**PLACE, "iteration": iteration}, count)


def loaded(path: Path) -> tuple[tuple[dict[str, Any], int] | None, list[str], nn.Module]:
    said: list[str] = []
    net, rule = made("sgd", steps=0)
    return load(path, net, rule, said.append), said, net


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("steps", [0, 2])
def test_all_of_it_comes_back(optimiser: str, steps: int, tmp_path: Path) -> None:
    net, rule = made(optimiser, steps)
    save(tmp_path, net, rule, PLACE, 0)
    other, its_rule = made(optimiser, 0, seed=1)
    result = load(tmp_path, other, its_rule, pytest.fail)
    assert result == (PLACE, 1)
    before, after = tensors(net, rule), tensors(other, its_rule)
    assert len(before) == len(after)
    for one, two in zip(before, after, strict=True):
        assert torch.equal(one, two)
        # Where layouts differ, a step rounds differently.
        assert one.stride() == two.stride()
    for pair in ((net, rule), (other, its_rule)):
        torch.manual_seed(2)
        step(*pair)
    assert all(map(torch.equal, tensors(net, rule), tensors(other, its_rule)))


def test_a_frozen_layer_needs_no_state(tmp_path: Path) -> None:
    def frozen(seed: int) -> tuple[nn.Module, optim.Optimizer]:
        net, _ = made("sgd", 0, seed)
        net[0].requires_grad_(False)  # type: ignore[index]
        weights = [weight for weight in net.parameters() if weight.requires_grad]
        return net, optim.SGD(weights, 0.1, momentum=0.9)

    net, rule = frozen(0)
    step(net, rule)
    save(tmp_path, net, rule, PLACE, 0)
    other, its_rule = frozen(1)
    load(tmp_path, other, its_rule, pytest.fail)
    assert all(map(torch.equal, tensors(net, rule), tensors(other, its_rule)))


@pytest.mark.parametrize("iterations", [[5], [5, 9], [5, 9, 12]])
def test_the_newest_is_used_and_the_older_is_written_over(
    iterations: list[int], tmp_path: Path
) -> None:
    saved(tmp_path, iterations)
    result, _, net = loaded(tmp_path)
    assert result is not None
    place, count = result
    assert place["iteration"] == iterations[-1]
    expected, _ = made("sgd", steps=1, seed=iterations[-1])
    assert torch.equal(net[0].weight, expected[0].weight)  # type: ignore[index]
    assert {path.name for path in tmp_path.iterdir()} == set(CHECKPOINTS[: len(iterations)])
    # The next one leaves the newest alone.
    assert count != (len(iterations) - 1) % 2


def test_what_could_not_be_written_is_said_and_tried_again(tmp_path: Path) -> None:
    class Full(Folder):
        errors = 1

        def write(self, name: str, content: Content) -> None:
            if self.errors:
                self.errors -= 1
                raise RunError("no space left")
            super().write(name, content)

    said: list[str] = []
    net, rule = made("sgd", 1)
    checkpoints = Checkpoints(Full(tmp_path, lambda: None), 0.0, said.append)
    checkpoints.save(net, rule, PLACE)
    with pytest.raises(RunError):
        checkpoints.wait()
    assert "no space left" in said[0]
    assert checkpoints.next < math.inf
    checkpoints.save(net, rule, PLACE)
    checkpoints.wait()
    assert load(tmp_path, *made("sgd", 0), pytest.fail) is not None


def test_that_of_another_run_is_not_used(tmp_path: Path) -> None:
    for name in ("one", "other"):
        saved(tmp_path / name, [5])
    shutil.copy(tmp_path / "other" / CHECKPOINTS[0], tmp_path / "one")
    result, said, _ = loaded(tmp_path / "one")
    assert result is None
    assert "it is of other" in said[0]


def test_what_cannot_be_read_may_be_whole(tmp_path: Path) -> None:
    saved(tmp_path, [5])
    (tmp_path / CHECKPOINTS[1]).mkdir()
    result, *_ = loaded(tmp_path)
    assert result is not None
    (tmp_path / CHECKPOINTS[0]).unlink()
    with pytest.raises(RunError, match="cannot be read, it may be whole"):
        loaded(tmp_path)


@pytest.mark.parametrize("newest", [0, 1])
def test_any_damage_is_noticed_and_the_other_generation_used(newest: int, tmp_path: Path) -> None:
    saved(tmp_path, [9, 5] if newest == 0 else [5, 9])
    path = tmp_path / CHECKPOINTS[newest]
    whole = path.read_bytes()
    damaged = [whole[:length] for length in (0, 4, len(whole) // 2, len(whole) - 1)]
    for place in {0, 8, *range(10, len(whole), 297), len(whole) - 1}:
        flipped = bytearray(whole)
        flipped[place] ^= 1
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        result, said, _ = loaded(tmp_path)
        assert result is not None
        assert result[0]["iteration"] == 5
        (line,) = said
        assert line.startswith(f"{path} is damaged (")
        assert "\n" not in line
        # The next checkpoint goes over the damaged one.
        assert result[1] == newest


def test_with_both_damaged_training_begins_anew(tmp_path: Path) -> None:
    saved(tmp_path, [5, 9])
    for name in CHECKPOINTS:
        (tmp_path / name).write_bytes(b"{}")
    result, said, net = loaded(tmp_path)
    assert (result, len(said)) == (None, 2)
    assert torch.equal(net[0].weight, made("sgd", 0)[0][0].weight)  # type: ignore[index]


def _another_net(net: nn.Module, rule: optim.Optimizer) -> tuple[nn.Module, optim.Optimizer]:
    other = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(9, 9))
    return other, optim.SGD(other.parameters(), 0.1)


def _another_state(net: nn.Module, rule: optim.Optimizer) -> tuple[nn.Module, optim.Optimizer]:
    weight = net[0].weight  # type: ignore[index]
    rule.state[weight]["momentum_buffer"] = torch.zeros(7)
    return net, rule


@pytest.mark.parametrize("change", [_another_net, _another_state])
def test_a_whole_one_with_something_else_in_it_is_not_used(
    change: Callable[..., tuple[nn.Module, optim.Optimizer]], tmp_path: Path
) -> None:
    saved(tmp_path, [5])
    save(tmp_path, *change(*made("sgd", 1)), {**PLACE, "iteration": 9}, 1)
    result, said, _ = loaded(tmp_path)
    assert result is not None
    assert (result[0]["iteration"], len(said)) == (5, 1)
