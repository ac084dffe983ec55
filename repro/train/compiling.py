"""A net, compiled where that is asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from repro.config.schema import EAGER


def compiled(net: nn.Module, mode: str) -> Callable[[Tensor], Tensor]:
    """What computes a net's scores: the net itself, or compiled by one of torch's modes."""
    if mode == EAGER:
        return net
    # Else the graphs of earlier nets count towards torch's limit, beyond which nothing is compiled.
    torch.compiler.reset()
    found: Callable[[Tensor], Tensor] = torch.compile(net, mode=mode)
    return found
