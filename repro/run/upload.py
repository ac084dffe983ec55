"""The next batch goes to a CUDA device while that still computes the one before."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from repro.errors import RunError

Batch = tuple[Tensor, Tensor, Tensor]


class Upload:
    """Takes batches from an iterator one ahead of their use."""

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        """
        Args:
            batches: as the loader makes them, in the processor's memory.
            device: where they go if it is a CUDA device; elsewhere they stay where they are.
        """
        self.batches, self.device = batches, device
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.ahead: Batch | RunError | None = None

    def take(self) -> Batch:
        """The next batch, which the device's current stream may use.

        Raises:
            StopIteration: there is none.
            RunError: an image of it cannot be decoded.
        """
        batch = self._sent(next(self.batches)) if self.ahead is None else self.ahead
        self.ahead = None
        if isinstance(batch, RunError):
            raise batch
        if self.stream is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_stream(self.stream)
            for part in batch:
                # Or its memory could be given away while the current stream reads it.
                part.record_stream(current)
        return batch

    def send(self) -> None:
        """Have the batch after that one made and sent, while the device is at work.

        Where it cannot be made, `take` says so.
        """
        if self.stream is None:
            return
        try:
            following = next(self.batches, None)
        except RunError as error:
            self.ahead = error
            return
        self.ahead = None if following is None else self._sent(following)

    def _sent(self, batch: Batch) -> Batch:
        if self.stream is None:
            return batch
        # From pinned memory a copy runs beside the processor and beside the device's own work.
        pinned = [part.pin_memory() for part in batch]
        with torch.cuda.stream(self.stream):
            images, shift, labels = (p.to(self.device, non_blocking=True) for p in pinned)
        return images, shift, labels
