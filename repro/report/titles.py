"""What readers call nets, scales, data and settings: internal words reach no table or figure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from repro.config.choices import choice, names
from repro.report.net import Net, Nets, members
from repro.report.settings import Setting

CHANGED = re.compile(r"\+(?=[a-z_.]+=)")
"""What parts a changed value from the name before it, as in `jitter+lr_factor=1e+30`."""
WORDS = {
    "lr_factor": "learning rate times {}",
    "first_classes": "first {} classes",
    "train_images": "{} training images",
    "draws": "draws: {}",
    "content": "another file of this name ({})",
}
"""How a changed value is worded, by its key; others by key and value."""


@lru_cache
def template(name: str) -> dict[str, Any]:
    """The words of `templates/NAME.yaml`."""
    path = Path(__file__).with_name("templates") / f"{name}.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def worded(name: str) -> str:
    """The name of a choice with its changed values in words, as in `mnist5k, holdout 0.02`."""
    first, *changes = CHANGED.split(name)
    pairs = [change.split("=", 1) for change in changes]
    said = [WORDS.get(key, key.replace("_", " ") + " {}").format(value) for key, value in pairs]
    return ", ".join([first, *said])


def scale_title(scale: str) -> str:
    """S as the paper writes it, as in `[256; 512]`; a scale of one's own by its name."""
    return s_words(scale).removeprefix("S=")


def s_words(scale: str) -> str:
    """As in `S=[256; 512]`; a scale of one's own by its name."""
    first, *changes = worded(scale).split(", ")
    return ", ".join([_scales().get(first, first), *changes])


@lru_cache
def _scales() -> dict[str, str]:
    files = {name: choice("scale", name) for name in names("scale")}
    found = {}
    for name, own in files.items():
        low, high = own["smin"], own["smax"]
        found[name] = f"S={low}" if low == high else f"S=[{low}; {high}]"
        before = files.get(str(own.get("parent")), {})
        if (before.get("smin"), before.get("smax")) == (low, high):
            found[name] += ", trained on"
    return found


def arch_title(net: Net) -> str:
    """What a net is but for its S, as in `D, FC layers tuned`."""
    notes = ["FC layers tuned"] if net.finetune == "fc" else []
    notes += [f"init {worded(net.init)}"] if net.init else []
    return ", ".join([worded(net.arch), *notes])


def title(nets: Nets) -> str:
    """A net as in `D, S=[256; 512]`, or the members of an ensemble."""
    if isinstance(nets, Net):
        return f"{arch_title(nets)}, {s_words(nets.scale)}"
    return " + ".join(map(str, members(nets)))


def setting_title(setting: Setting) -> str:
    """A setting as in `tiny_imagenet, first 50 classes; size eighth; recipe photos`."""
    words = f"{worded(setting.data)}; size {worded(setting.size)}; recipe {worded(setting.recipe)}"
    return words if setting.precision == "float32" else f"{words}; {setting.precision}"


def span(seeds: Sequence[int]) -> str:
    """As in `0 to 4`, or `0, 2`."""
    if len(seeds) > 2 and seeds[-1] - seeds[0] + 1 == len(seeds):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
