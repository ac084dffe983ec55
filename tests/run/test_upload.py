"""Batches that go ahead: on a stand-in for a CUDA device, since most machines have none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from repro.errors import RunError
from repro.run.upload import Batch, Upload


def batches(count: int, taken: list[int]) -> Iterator[Batch]:
    for number in range(count):
        taken.append(number)
        yield (torch.full((2, 1), number), torch.zeros(2, 1), torch.zeros(2))


def test_on_a_cpu_a_batch_is_made_when_it_is_used() -> None:
    taken: list[int] = []
    upload = Upload(batches(3, taken), torch.device("cpu"))
    for number in range(3):
        assert int(upload.take()[0][0]) == number
        upload.send()
        assert taken == list(range(number + 1))
    with pytest.raises(StopIteration):
        upload.take()


class Stream:
    """What of a stream of torch.cuda an upload uses."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: Stream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch, log: list[str]) -> type[Upload]:
    current = Stream("current", log)

    class Sent(Upload):
        def __init__(self, made: Iterator[Batch]) -> None:
            super().__init__(made, torch.device("cpu"))
            self.stream = Stream("own", log)  # type: ignore[assignment]

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        log.append(f"on {stream.name}")
        yield
        log.append("off")

    def pinned(tensor: torch.Tensor) -> torch.Tensor:
        log.append("pinned")
        return tensor

    def recorded(tensor: torch.Tensor, stream: Stream) -> None:
        log.append(f"{stream.name} reads")

    monkeypatch.setattr(torch.cuda, "current_stream", lambda chosen: current)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pinned)
    monkeypatch.setattr(torch.Tensor, "record_stream", recorded)
    return Sent


def test_a_batch_is_copied_from_pinned_memory_and_awaited(
    ahead: type[Upload], log: list[str]
) -> None:
    upload = ahead(batches(2, []))  # type: ignore[call-arg]
    sent = [*["pinned"] * 3, "on own", "off"]
    taken = ["current waits for own", *["current reads"] * 3]
    upload.take()
    assert log == [*sent, *taken]
    upload.send()
    assert log == [*sent, *taken, *sent]
    upload.take()
    assert log == [*sent, *taken, *sent, *taken]


def test_on_a_device_the_next_batch_is_sent_before_it_is_used(ahead: type[Upload]) -> None:
    taken: list[int] = []
    upload = ahead(batches(3, taken))  # type: ignore[call-arg]
    for number in range(3):
        assert int(upload.take()[0][0]) == number
        upload.send()
        assert taken == list(range(min(number + 2, 3)))
    with pytest.raises(StopIteration):
        upload.take()


def test_a_bad_image_of_the_next_batch_is_an_error_where_that_is_taken(ahead: type[Upload]) -> None:
    def broken() -> Iterator[Batch]:
        yield (torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2))
        raise RunError("a.jpg cannot be decoded")

    upload = ahead(broken())  # type: ignore[call-arg]
    upload.take()
    upload.send()
    with pytest.raises(RunError, match="cannot be decoded"):
        upload.take()
