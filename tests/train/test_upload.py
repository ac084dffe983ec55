"""Batches that go ahead: on a stand-in for a CUDA device, since most machines have none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from repro.errors import RunError
from repro.train.upload import Batch, Upload


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


class Device:
    """What of torch.cuda an upload uses."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def wait_stream(self, other: object) -> None:
        self.log.append("waits")


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> type[Upload]:
    device = Device()

    class Sent(Upload):
        def __init__(self, made: Iterator[Batch]) -> None:
            super().__init__(made, torch.device("cpu"))
            self.stream = device  # type: ignore[assignment]

        def _sent(self, batch: Batch) -> Batch:
            return batch

    monkeypatch.setattr(torch.cuda, "current_stream", lambda chosen: device)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    return Sent


def test_on_a_device_the_next_batch_is_sent_before_it_is_used(ahead: type[Upload]) -> None:
    taken: list[int] = []
    upload = ahead(batches(3, taken))  # type: ignore[call-arg]
    for number in range(3):
        assert int(upload.take()[0][0]) == number
        upload.send()
        assert taken == list(range(min(number + 2, 3)))
    with pytest.raises(StopIteration):
        upload.take()


def test_a_bad_image_of_the_next_batch_is_an_error(ahead: type[Upload]) -> None:
    def broken() -> Iterator[Batch]:
        yield (torch.zeros(2, 1), torch.zeros(2, 1), torch.zeros(2))
        raise RunError("a.jpg cannot be decoded")

    upload = ahead(broken())  # type: ignore[call-arg]
    upload.take()
    with pytest.raises(RunError, match="cannot be decoded"):
        upload.send()
