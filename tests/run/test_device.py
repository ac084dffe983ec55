"""What torch keeps for the whole process, and what is said of memory."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from repro.errors import RequestError
from repro.run.device import Batch, memory_format, pick, torch_settings, uploaded
from tests.conftest import composed


def kept() -> list[object]:
    cudnn = torch.backends.cudnn
    return [
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        *(getattr(cudnn, name) for name in ("allow_tf32", "deterministic", "benchmark")),
    ]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("precision=tf32", [1, "high", True, True, False]),
        ("precision=bf16", [1, "highest", False, True, False]),
        ("fast=true", [1, "highest", False, False, True]),
    ],
)
def test_what_a_run_sets_is_put_back(
    word: str, expected: list[object], fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = kept()
    try:
        with torch_settings(composed("threads=1", word)):
            assert kept() == expected
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert kept() == before


def test_precisions_of_a_caller_that_uses_torchs_newer_names_are_put_back() -> None:
    program = """
import torch
from repro.run.device import computing_in

one, other = torch.backends.cuda.matmul, torch.backends.cudnn.conv
torch.backends.fp32_precision, other.fp32_precision = "ieee", "tf32"
for precision, expected in {"tf32": "tf32", "float32": "ieee"}.items():
    with computing_in(precision):
        assert [one.fp32_precision, other.fp32_precision] == [expected, expected]
    assert [one.fp32_precision, other.fp32_precision] == ["ieee", "tf32"]
"""
    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this torch has the older names alone")
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_device_that_torch_cannot_use_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # An older driver's: the driver counts it.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick("auto").type != "cuda"
    with pytest.raises(RequestError, match="device=cuda"):
        pick("cuda")


@pytest.mark.parametrize(
    ("device", "words", "last"),
    [
        ("cpu", [], True),
        ("cuda", [], False),
        ("cuda", ["precision=bf16"], True),
        ("cuda", ["channels_last=true"], True),
        ("cpu", ["channels_last=false"], False),
    ],
)
def test_channels_are_last_where_that_is_faster_or_asked_for(
    device: str, words: list[str], last: bool
) -> None:
    found = memory_format(composed(*words), torch.device(device))
    assert found == (torch.channels_last if last else torch.contiguous_format)


def batches(count: int, taken: list[int]) -> Iterator[Batch]:
    for number in range(count):
        taken.append(number)
        yield torch.full((2, 1), number), torch.zeros(2, 1), torch.zeros(2)


class Stream:
    """What of a stream of torch.cuda an upload uses."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.events = log, 0

    def record_event(self) -> int:
        self.events += 1
        return self.events - 1

    def wait_event(self, event: int) -> None:
        self.log.append(f"waits for {event}")


def test_a_batch_is_sent_ahead_from_pinned_memory_and_awaited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a stand-in for a CUDA device, since most machines have none."""
    log: list[str] = []
    taken: list[int] = []

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        log.append("sends")
        yield

    def pinned(tensor: torch.Tensor) -> torch.Tensor:
        log.append("pins")
        return tensor

    monkeypatch.setattr(torch.cuda, "current_stream", lambda chosen: Stream(log))
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pinned)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: log.append("reads"))
    stream: Any = Stream(log)
    sent, expected = ["pins"] * 3 + ["sends"], list[str]()
    for number, (images, _, _) in enumerate(
        uploaded(batches(3, taken), torch.device("cpu"), stream)
    ):
        assert int(images[0]) == number
        assert taken == list(range(min(number + 2, 3)))
        # For its own upload, not for the next one's.
        used = [f"waits for {number}", *["reads"] * 3]
        expected += [*sent * {0: 2, 1: 1, 2: 0}[number], *used]
        assert log == expected
