"""Processes that share a batch drop what a single one would."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from repro.model.dropout import Dropout, share


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("cuts", [(0, 7), (0, 3, 7), (0, 0, 5, 7)])
def test_parts_of_a_batch_are_dropped_as_the_whole(
    cuts: tuple[int, ...], kind: torch.dtype
) -> None:
    values = torch.randn(7, 640, dtype=kind)
    plain, own = (nn.Sequential(d, nn.ReLU(), d) for d in (nn.Dropout(0.3), Dropout(0.3)))
    torch.manual_seed(5)
    whole = plain(values)
    parts = []
    for first, end in pairwise(cuts):
        share(own, slice(first, end), 7)
        torch.manual_seed(5)
        parts.append(own(values[first:end]))
    assert torch.equal(torch.cat(parts), whole)
    own.eval()
    assert torch.equal(own(values), values.relu())
