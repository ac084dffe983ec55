"""The model card beside an exported file: what the net is, what it wants, how good it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment
from torch import nn

from repro.config.choices import choice
from repro.config.schema import Arch, Config
from repro.errors import flat
from repro.model.vgg import VGG, Dropout
from repro.protocol.protocols import ONE_NUMBER, PROTOCOLS, readings, views
from repro.protocol.scales import PAPER_CROP, pixels, single_q
from repro.release.trained import convention
from repro.report.deviations import deviations
from repro.store import views as stored
from repro.store.runs import Run

TO_FILL = "TO BE FILLED IN: the licence of these weights; that of the images may bear on it"
TORCHVISIONS = {
    f"{letter}{batch_norm}": f"vgg{depth}{batch_norm.replace('-BN', '_bn')}"
    for letter, depth in (("A", 11), ("B", 13), ("D", 16), ("E", 19))
    for batch_norm in ("", "-BN")
}
"""Which of torchvision's nets has a configuration's layers and takes its weights."""


def torchvision_name(config: Config) -> str | None:
    """Which of torchvision's nets takes the weights of a run; None: none does."""
    name, size = config.arch.name, config.size
    if name not in TORCHVISIONS or config.arch != Arch(**choice("arch", name)):
        return None
    paper = (size.crop, size.poolings, size.width) == (PAPER_CROP, 5, 1)
    return TORCHVISIONS[name] if paper and config.data.channels == 3 else None


def card(
    run: Run, net: VGG, kind: str, file: str, classes: Sequence[str], difference: float | None
) -> str:
    """A model card in Markdown, whose parts all follow from the run and its net.

    `file` is the exported file's name, `kind` its format; `difference` is how far onnxruntime is
    from torch, for a graph. RequestError: the run's views show different images.
    """
    jinja = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    jinja.filters |= {
        # What a folder or a stored file says becomes neither a cell nor a tag.
        "cell": lambda text: flat(str(text or "")).replace("|", "\\|").replace("<", "&lt;"),
        "numbers": lambda values: ", ".join(f"{value:.6g}" for value in values),
        "code": _code,
    }
    page = Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8")
    config = run.config
    return jinja.from_string(page).render(
        {name: getattr(config, name) for name in ("size", "recipe", "scale")},
        run=run,
        net=net,
        kind=kind,
        file=flat(file),
        quoted=json.dumps(file, ensure_ascii=False),
        classes=classes,
        difference=difference,
        config=config,
        channels=config.data.channels,
        result=run.result,
        data=run.result["data"],
        known=run.published,
        wanted=convention(run),
        torchvision=torchvision_name(config),
        side=pixels(single_q(config.scale), config.size.crop),
        errors=list(_errors(run)),
        departs=[] if run.published else deviations(run),
        to_fill=TO_FILL,
    )


def _code(part: nn.Module) -> str:
    """A layer as it is written in Python; for most, torch's own words for it are that."""
    if isinstance(part, Dropout):
        return f"nn.Dropout({part.p:g})"
    if isinstance(part, nn.BatchNorm2d):
        # Versions of torch differ in what they say of it.
        return f"nn.BatchNorm2d({part.num_features})"
    return f"nn.{part}"


def _errors(run: Run) -> Iterator[tuple[Any, ...]]:
    """The errors of the protocols whose views are stored, with n and interval."""
    for protocol in ONE_NUMBER:
        wanted = views(protocol, run.config.scale, run.config.data.mirror)
        if (mean := stored.mean_of(run.folder, wanted, run.tested)) is not None:
            section, qs = PROTOCOLS[protocol].section, readings(protocol, run.config.scale)[0]
            for k in (1, 5) if run.tested.classes > 5 else (1,):
                found = stored.interval(stored.wrong(mean, k))
                yield (protocol, section, qs, k, *found, len(mean.labels))
