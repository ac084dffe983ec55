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

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from repro.config.schema import HALVINGS, Arch, Size
from repro.errors import RequestError
from repro.model.layers import LRN, Conv, Layer, Linear, Net, Pool, sides
from repro.protocol.scales import PAPER_CROP

CONV = re.compile(r"conv(\d+)-([1-9]\d*)(?:/(\d+))?(?:p(\d+))?(?:g(\d+))?")
POOL = re.compile(r"maxpool(\d+)/(\d+)")
FC = re.compile(r"FC-([1-9]\d*|classes)")
LONGEST = 200
"""Characters of a word that are said of one that cannot be read."""
MOST_CELLS, MOST_CHANNELS = 1024, 1_000_000
"""Of kernels, strides and paddings, and of channels: more is a slip of the keyboard."""


def scaled(channels: int, width: float, word: str) -> int:
    """Channels of `word` at a width, rounded half up.

    Raises:
        RequestError: no channel is left.
    """
    count = math.floor(channels * width + 0.5)
    if count < 1:
        raise RequestError(
            f"size.width={width:g} leaves {word} no channels: "
            f"the narrowest that works is {0.5 / channels:g}"
        )
    return count


def _up_to(most: int, *numbers: str | None) -> bool:
    """Whether what was matched is no larger than `most`; what was not matched is not."""
    # Python reads no number of thousands of digits.
    return all(len(n) < 10 and int(n) <= most for n in numbers if n is not None)


def _conv(
    word: str, match: re.Match[str], arch: Arch, width: float, inputs: int, block: int, place: int
) -> Conv:
    cells, wide = (match[1], match[3], match[4]), (match[2], match[5])
    if not (_up_to(MOST_CELLS, *cells) and _up_to(MOST_CHANNELS, *wide)):
        raise RequestError(
            f"{word[:LONGEST]} in block {block} of arch {arch.name}: expected a kernel, a stride "
            f"and a padding up to {MOST_CELLS}, and up to {MOST_CHANNELS} channels"
        )
    kernel, channels = int(match[1]), int(match[2])
    stride, groups = int(match[3] or 1), int(match[5] or 1)
    out = scaled(channels, width, word)
    if kernel < 1 or stride < 1 or groups < 1 or inputs % groups or out % groups:
        raise RequestError(
            f"{word} in block {block} of arch {arch.name}: {inputs} and {out} channels "
            f"do not divide into {groups} groups, or a size is zero"
        )
    if match[4] is None and stride == 1 and kernel % 2 == 0:
        raise RequestError(
            f"{word} in block {block} of arch {arch.name}: "
            f"an even kernel cannot keep the size; give its padding, as in {word}p0"
        )
    padding = kernel // 2 if match[4] is None else int(match[4])
    return Conv(
        kernel, inputs, out, stride, padding, groups, arch.conv_bias, arch.batch_norm, block, place
    )


def _pool(arch: Arch, block: int) -> Pool:
    match = POOL.fullmatch(arch.pool)
    known = match is not None and _up_to(MOST_CELLS, *match.groups())
    if match is None or not known or int(match[1]) < 1 or int(match[2]) < 1:
        raise RequestError(
            f"arch.pool={arch.pool[:LONGEST]}: expected maxpoolWINDOW/STRIDE, as in maxpool2/2"
        )
    return Pool(int(match[1]), int(match[2]), block)


def _features(arch: Arch, width: float, channels: int) -> Iterator[Layer]:
    for block, words in enumerate(arch.blocks, start=1):
        place = 0
        for word in words:
            if match := CONV.fullmatch(word):
                place += 1
                conv = _conv(word, match, arch, width, channels, block, place)
                channels = conv.out_channels
                yield conv
            elif word == "LRN":
                yield LRN(channels)
            else:
                raise RequestError(
                    f"{word!r} in block {block} of arch {arch.name} is no layer: "
                    "expected convK-CHANNELS (with /STRIDE, pPADDING, gGROUPS) or LRN"
                )
        yield _pool(arch, block)


def _halved_less(features: Iterable[Layer], surplus: int, name: str) -> Iterator[Layer]:
    """The layers without their first `surplus` halvings.

    A convolution keeps the distance of its first window from the border, in strides (AlexNet's
    stride of 4 and padding of 2 become 1 and 4).

    Raises:
        RequestError: there are not as many.
    """
    left = surplus
    for layer in features:
        if not isinstance(layer, Conv | Pool):
            yield layer
            continue
        stride = layer.stride
        while left and stride % 2 == 0:
            stride //= 2
            left -= 1
        if stride == layer.stride:
            yield layer
        elif isinstance(layer, Conv):
            middle = (layer.kernel - 1) / 2
            inset = (middle - layer.padding) * stride / layer.stride
            yield replace(layer, stride=stride, padding=math.floor(middle - inset + 0.5))
        elif stride > 1:
            yield replace(layer, stride=stride)
    if left:
        raise RequestError(
            f"arch={name} halves its maps {surplus - left} times and this size leaves out the "
            f"first {surplus} halvings: take a larger size.poolings"
        )


def _classifier(
    arch: Arch, width: float, channels: int, side: int, classes: int
) -> Iterator[Linear]:
    for place, word in enumerate(arch.fc, start=1):
        match = FC.fullmatch(word)
        last = place == len(arch.fc)
        units = None if match is None or last else match[1]
        if match is None or last != (match[1] == "classes") or not _up_to(MOST_CHANNELS, units):
            raise RequestError(
                f"arch.fc={','.join(arch.fc)[:LONGEST]}: expected FC-UNITS (up to "
                f"{MOST_CHANNELS}) for each hidden layer and FC-classes as the last"
            )
        outputs = classes if last else scaled(int(match[1]), width, word)
        yield Linear(channels, side, outputs, hidden=not last)
        channels, side = outputs, 1


def read(
    arch: Arch, *, width: float, crop: int, channels: int, classes: int, poolings: int = HALVINGS
) -> Net:
    """The layers of a configuration at one size.

    Args:
        arch: the configuration, as in Table 1.
        width: multiplier of every layer's channels; the last layer has `classes` outputs.
        crop: side of the training crop in pixels.
        channels: channels of the input image.
        classes: number of classes.
        poolings: of the five halvings of Table 1's nets, how many are kept; the first are left out.

    Raises:
        RequestError: a word that is no layer, no channels at this width, no map at this crop.
    """
    if classes < 2:
        raise RequestError(f"data.classes={classes}: a classifier needs at least two classes")
    if not arch.blocks or not arch.fc:
        raise RequestError(f"arch {arch.name} needs at least one block and FC-classes")
    whole = _features(arch, width, channels)
    features = list(_halved_less(whole, HALVINGS - poolings, arch.name))
    side = crop
    for _, _, side in sides(features, crop):
        if side < 1:
            raise RequestError(
                f"arch={arch.name} has no map left before its FC layers at size.crop={crop} with "
                f"size.poolings={poolings}: take a larger crop or fewer poolings"
            )
    convs = [layer for layer in features if isinstance(layer, Conv)]
    if not convs:
        raise RequestError(f"arch {arch.name} has no convolution")
    linears = _classifier(arch, width, convs[-1].out_channels, side, classes)
    return Net(arch.name, (*features, *linears), crop, channels, classes)


def at_size(arch: Arch, size: Size, *, channels: int, classes: int) -> Net:
    """The layers of a configuration at a size of `conf/size/`; see `read`."""
    return read(
        arch,
        width=size.width,
        crop=size.crop,
        poolings=size.poolings,
        channels=channels,
        classes=classes,
    )


def at_full_size(arch: Arch, *, channels: int, classes: int) -> Net:
    """The layers of a configuration at the paper's own size, for any images and classes."""
    return read(arch, width=1, crop=PAPER_CROP, channels=channels, classes=classes)
