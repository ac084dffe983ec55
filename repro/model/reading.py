"""Reading a configuration of Table 1: from the YAML's words to a list of layers with sizes.

A block is a list of layers and ends with a pooling; the fully connected layers follow. The words:

- ``conv3-64``: 3x3 kernel, 64 channels at width 1, stride 1, padding that keeps the size;
  ``conv11-96/4p2g2`` adds stride 4, padding 2 and 2 groups (AlexNet's layers);
- ``LRN``: local response normalisation;
- ``maxpool2/2``: window 2, stride 2;
- ``FC-4096``, and ``FC-classes`` for the last one.

A scale model leaves out the first halvings of the net, counted from the image: a pooling goes as a
whole, a convolution's stride loses a factor of two. With a crop of 224/2^k pixels and k halvings
left out, every later map of Table 1's nets has the side that it has in the paper.
"""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from repro.config.schema import HALVINGS, Arch, Size
from repro.errors import RequestError
from repro.model.layers import LRN, Conv, Layer, Linear, Pool, Spec, sides
from repro.protocol.boxes import NONE, PER_CLASS
from repro.protocol.scales import PAPER_CROP

PAPER = Size("paper", PAPER_CROP, HALVINGS, 1.0)
CELLS, CHANNELS = r"([1-9]\d{0,2})", r"([1-9]\d{0,6})"
CONV = re.compile(rf"conv{CELLS}-{CHANNELS}(?:/{CELLS})?(?:p(\d{{1,3}}))?(?:g{CHANNELS})?")
POOL = re.compile(f"maxpool{CELLS}/{CELLS}")
FC = re.compile(f"FC-(?:{CHANNELS}|classes)")


def _scaled(channels: int, width: float, word: str) -> int:
    count = math.floor(channels * width + 0.5)
    if count < 1:
        raise RequestError(f"size.width={width:g} leaves {word} no channels: take a larger one")
    return count


def _conv(word: str, arch: Arch, width: float, inputs: int, block: int, place: int) -> Conv:
    match = CONV.fullmatch(word)
    if match is None:
        raise RequestError(
            f"{word[:200]!r} in block {block} of arch {arch.name} is no layer: expected LRN or "
            "convKERNEL-CHANNELS with /STRIDE, pPADDING, gGROUPS, of 999 cells, 9999999 channels"
        )
    kernel, channels, stride, groups = (int(match[n] or 1) for n in (1, 2, 3, 5))
    out, keeps = _scaled(channels, width, word), match[4] is None
    if inputs % groups or out % groups or (keeps and stride == 1 and kernel % 2 == 0):
        said = f"{word} in block {block} of arch {arch.name}: {inputs} and {out} channels"
        raise RequestError(f"{said} must divide into its groups; an even kernel needs pPADDING")
    padding = kernel // 2 if keeps else int(match[4])
    bias, norm = arch.conv_bias, arch.batch_norm
    return Conv(kernel, inputs, out, stride, padding, groups, bias, norm, block, place)


def _features(arch: Arch, width: float, channels: int) -> Iterator[Layer]:
    pool = POOL.fullmatch(arch.pool)
    if pool is None:
        raise RequestError(f"arch.pool={arch.pool[:200]}: expected as in maxpool2/2, WINDOW/STRIDE")
    for block, words in enumerate(arch.blocks, start=1):
        place = 0
        for word in words:
            if word == "LRN":
                yield LRN(channels)
            else:
                place += 1
                conv = _conv(word, arch, width, channels, block, place)
                channels = conv.out_channels
                yield conv
        yield Pool(int(pool[1]), int(pool[2]), block)


def _halved_less(features: Iterable[Layer], surplus: int, name: str) -> Iterator[Layer]:
    """The layers without their first halvings; a padding keeps its share of the stride."""
    left = surplus
    for layer in features:
        stride = whole = layer.stride if isinstance(layer, Conv | Pool) else 1
        while left and stride % 2 == 0:
            stride //= 2
            left -= 1
        if stride == whole:
            yield layer
        elif isinstance(layer, Conv):
            middle = (layer.kernel - 1) / 2
            inset = (middle - layer.padding) * stride / whole
            yield replace(layer, stride=stride, padding=math.floor(middle - inset + 0.5))
        elif isinstance(layer, Pool) and stride > 1:
            yield replace(layer, stride=stride)
    if left:
        said = f"arch={name} has {left} halvings and this size leaves out {surplus}"
        raise RequestError(f"{said}: take a larger size.poolings")


def _classifier(
    arch: Arch, width: float, channels: int, side: int, classes: int
) -> Iterator[Linear]:
    for place, word in enumerate(arch.fc, start=1):
        match, last = FC.fullmatch(word), place == len(arch.fc)
        if match is None or last != (match[1] is None):
            said = f"arch.fc={','.join(arch.fc)[:200]}: expected FC-UNITS (9999999 at most)"
            raise RequestError(f"{said} for each hidden layer and FC-classes as the last")
        outputs = classes if last else _scaled(int(match[1]), width, word)
        yield Linear(channels, side, outputs, hidden=not last)
        channels, side = outputs, 1


def spec_of(arch: Arch, size: Size = PAPER, *, channels: int, classes: int) -> Spec:
    """The layers of a configuration at a size of `conf/size/`; a RequestError says why none."""
    if classes < 2:
        raise RequestError(f"data.classes={classes}: a classifier needs at least two classes")
    full = _features(arch, size.width, channels)
    features = list(_halved_less(full, HALVINGS - size.poolings, arch.name))
    convs = [layer for layer in features if isinstance(layer, Conv)]
    if not convs or not arch.fc:
        raise RequestError(f"arch {arch.name} needs at least one convolution and FC-classes")
    side = size.crop
    for _, _, side in sides(features, size.crop):
        if side < 1:
            said = f"arch={arch.name} has no map left before its FC layers at size.crop={size.crop}"
            raise RequestError(f"{said}, size.poolings={size.poolings}: take a larger crop")
    linears = _classifier(arch, size.width, convs[-1].out_channels, side, classes)
    return Spec(arch.name, (*features, *linears), size.crop, channels, classes)


def locating(net: Spec, boxes: str) -> Spec:
    """The net with a last layer that gives boxes, as `boxes` says (Appendix A)."""
    if boxes == NONE:
        return net
    last = replace(net.linears[-1], out_features=4 * (net.classes if boxes == PER_CLASS else 1))
    return replace(net, layers=(*net.layers[:-1], last))
