"""What torch keeps for the whole process, and what is said of memory."""

from __future__ import annotations

import pytest
import torch

from repro.run.device import is_out_of_memory, memory_format, torch_settings
from tests.conftest import Compose


def kept() -> list[object]:
    cudnn = torch.backends.cudnn
    return [
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        *(getattr(cudnn, name) for name in ("allow_tf32", "deterministic", "benchmark")),
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_run_sets_is_put_back(
    fails: bool, compose: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = kept()
    try:
        with torch_settings(compose("threads=1", "precision=tf32")):
            assert kept() == [1, "high", True, True, False]
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert kept() == before


@pytest.mark.parametrize(
    ("device", "words", "last"),
    [
        ("cpu", [], True),
        ("mps", [], True),
        ("cuda", [], False),
        ("cuda", ["precision=float64"], False),
        ("cuda", ["precision=tf32"], True),
        ("cuda", ["precision=bf16"], True),
        ("cuda", ["channels_last=true"], True),
        ("cuda", ["channels_last=false", "precision=bf16"], False),
        ("cpu", ["channels_last=false"], False),
        ("cpu", ["channels_last=auto"], True),
    ],
)
def test_channels_are_last_where_that_is_faster_or_asked_for(
    device: str, words: list[str], last: bool, compose: Compose
) -> None:
    found = memory_format(compose(*words), torch.device(device))
    assert found == (torch.channels_last if last else torch.contiguous_format)


def test_a_tensor_that_no_machine_has_room_for_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
