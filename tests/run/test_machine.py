"""What a machine cannot do is refused, and nothing that it can."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from repro.config.command import command
from repro.errors import RequestError
from repro.model.cost import cost
from repro.model.vgg import VGG
from repro.run import machine
from repro.run.request import resolve
from tests.conftest import Compose

CPU = torch.device("cpu")


def test_a_net_is_refused_only_where_its_state_or_one_image_is_too_large(
    compose: Compose, tmp_path: Path
) -> None:
    request = resolve(compose("arch=D", "size=tiny", "recipe=quick", f"runs={tmp_path}"))
    numbers = sum(weight.numel() for weight in VGG(request.net, 0.5).parameters())
    # Weights, gradients and momentum in float32.
    machine.check_memory(request, CPU, 3 * 4 * numbers)
    machine.check_memory(request, CPU, None)
    with pytest.raises(RequestError, match="D at size=tiny cannot be trained on cpu: it holds"):
        machine.check_memory(request, CPU, 3 * 4 * numbers - 1)


def test_one_image_may_be_too_large(compose: Compose, tmp_path: Path) -> None:
    words = ["size.poolings=5", "size.crop=1024", "size.width=0.02", "arch.fc=[FC-classes]"]
    request = resolve(compose("arch=D", *words, f"runs={tmp_path}"))
    state = 12 * cost(request.net).parameters
    # The first two maps alone: a channel each, 1024 x 1024 cells of 4 bytes.
    assert state < 2 * 4 * 1024**2
    with pytest.raises(RequestError, match="for the activations of one image"):
        machine.check_memory(request, CPU, 2 * 4 * 1024**2)


def test_what_cannot_be_held_is_refused_in_the_first_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    huge = ["arch=E", "size=paper", "arch.fc=[FC-1000000,FC-1000000,FC-classes]"]
    assert command([f"runs={tmp_path / 'runs'}", *huge]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    # 25,088 x 10^6 + 10^12 and more weights, 12 bytes each.
    assert "it holds 12,3" in line
    assert not list(tmp_path.iterdir())


def test_a_mac_has_no_float64(compose: Compose, tmp_path: Path) -> None:
    request = resolve(compose("precision=float64", f"runs={tmp_path}"))
    with pytest.raises(RequestError, match="precision=float64 is not known to device=mps"):
        machine.check(request, torch.device("mps"))
