"""How others load a net's weights: torchvision's net where it is one, else the layers in torch."""

from __future__ import annotations

import torch
from torch import nn

from repro.model.vgg import VGG, Dropout

NAMES = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
SIDE = 7
"""Of the map that torchvision's nets pool to before their classifier."""

FROM_TORCHVISION = """import torch
from torchvision.models import {name}
{imports}
net = {name}(num_classes={classes}, init_weights=False)
net.load_state_dict({read})
net.eval()
"""
FROM_TORCH = """from collections import OrderedDict

import torch
from torch import nn
{imports}
features = nn.Sequential(
{features})
classifier = nn.Sequential(
{classifier})
net = nn.Sequential(
    OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier)
)
net.load_state_dict({read})
net.eval()
"""


def torchvision_name(net: VGG) -> str | None:
    """Which of torchvision's nets has this net's layers and takes its weights; None: none does."""
    from torchvision import models

    if net.spec.linears[0].side != SIDE:
        return None
    with torch.device("meta"):
        ours = _outline(VGG(net.spec, 0.5))
        for name in NAMES:
            make = getattr(models, name)
            if _outline(make(num_classes=net.spec.classes, init_weights=False)) == ours:
                return name
    return None


def _outline(net: nn.Module) -> list[str]:
    """The layers in order as Python writes them, without what changes no weight and no crop."""
    parts = (net.get_submodule(name).children() for name in ("features", "classifier"))
    # Of the crop's even maps, rounding up pools what rounding down does.
    return [
        "Dropout" if isinstance(part, nn.Dropout) else
        _code(part).replace("ceil_mode=True", "ceil_mode=False")
        for sequence in parts for part in sequence
    ]  # fmt: skip


def loader(net: VGG, read: str, imports: str = "") -> str:
    """Python that builds the net with torch, or torchvision, alone and loads its weights.

    Args:
        net: the net.
        read: the expression that reads the state dict.
        imports: the line that this needs, beside torch.
    """
    if (name := torchvision_name(net)) is not None:
        return FROM_TORCHVISION.format(
            name=name, classes=net.spec.classes, read=read, imports=imports
        )
    features, classifier = (
        "".join(f"    {_code(part)},\n" for part in sequence)
        for sequence in (net.features, net.classifier)
    )
    return FROM_TORCH.format(features=features, classifier=classifier, read=read, imports=imports)


def _code(part: nn.Module) -> str:
    """A layer as it is written in Python; for most, torch's own words for it are that."""
    if isinstance(part, Dropout):
        return f"nn.Dropout({part.p:g})"
    if isinstance(part, nn.BatchNorm2d):
        # Versions of torch differ in what they say of it.
        return f"nn.BatchNorm2d({part.num_features})"
    return f"nn.{part}"
