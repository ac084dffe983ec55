"""A net, compiled where that is asked for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from repro.config.schema import EAGER
from repro.model.dropout import Dropout


def compiled(net: nn.Module, mode: str) -> Callable[[Tensor], Tensor]:
    """What computes a net's scores: the net itself, or compiled by one of torch's modes.

    Dropout stays as it is, so that a run which was begun compiled goes on otherwise with the same
    masks.
    """
    if mode == EAGER:
        return net
    # Else the graphs of earlier nets count towards torch's limit, beyond which nothing is compiled.
    torch.compiler.reset()
    for part in net.modules():
        if isinstance(part, Dropout):
            # Else its masks would come from a generator of the compiler's.
            eager = torch.compiler.disable(part.forward)  # type: ignore[no-untyped-call]
            part.forward = eager  # type: ignore[method-assign]
    found: Callable[[Tensor], Tensor] = torch.compile(net, mode=mode)
    return found
