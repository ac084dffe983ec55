"""How others load a net's weights: torchvision's net where it is one, else the layers in torch."""

from __future__ import annotations

import torch
from torch import nn

from repro.model.dropout import Dropout
from repro.model.vgg import VGG

NAMES = ("vgg11", "vgg13", "vgg16", "vgg19")
TORCHVISION = (*NAMES, *(f"{name}_bn" for name in NAMES))
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
{features}
)
classifier = nn.Sequential(
{classifier}
)
net = nn.Sequential(
    OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier)
)
net.load_state_dict({read})
net.eval()
"""


def torchvision_name(net: VGG) -> str | None:
    """Which of torchvision's nets has this net's layers and takes its weights; None: none does."""
    spec = net.spec
    with torch.device("meta"):
        ours = _outline(VGG(spec, 0.5))
        for name in TORCHVISION if spec.linears[0].side == SIDE else ():
            if _outline(_theirs(name, spec.classes)) == ours:
                return name
    return None


def _theirs(name: str, classes: int) -> nn.Module:
    from torchvision import models

    made: nn.Module = getattr(models, name)(num_classes=classes, init_weights=False)
    return made


def _outline(net: nn.Module) -> list[str]:
    """The layers in order, with their places and all but what changes no weight and no crop."""
    parts = (net.get_submodule(name) for name in ("features", "classifier"))
    # Of the crop's even maps, rounding up pools what rounding down does.
    return [
        "Dropout"
        if isinstance(part, nn.Dropout)
        else f"BatchNorm2d({part.num_features})"
        if isinstance(part, nn.BatchNorm2d)
        else str(part).replace("ceil_mode=True", "ceil_mode=False")
        for sequence in parts
        for part in sequence.children()
    ]


def loader(net: VGG, read: str, imports: str = "") -> str:
    """Python that builds the net with torch, or torchvision, alone and loads its weights.

    Args:
        net: the net.
        read: the expression that reads the state dict.
        imports: what that needs, beside torch.
    """
    imports = f"{imports}\n" if imports else ""
    name = torchvision_name(net)
    if name is not None:
        return FROM_TORCHVISION.format(
            name=name, classes=net.spec.classes, read=read, imports=imports
        )
    features, classifier = (
        "\n".join(f"    {_code(part)}," for part in sequence)
        for sequence in (net.features, net.classifier)
    )
    return FROM_TORCH.format(features=features, classifier=classifier, read=read, imports=imports)


def _code(part: nn.Module) -> str:
    """A layer as it is written in Python; for most, torch's own words for it are that."""
    match part:
        case Dropout():
            return f"nn.Dropout({part.p:g})"
        case nn.BatchNorm2d():
            # Versions of torch differ in what they say of it.
            return f"nn.BatchNorm2d({part.num_features})"
        case _:
            return f"nn.{part}"
