"""Exporting a run's net: a weight file that other programs take, and its model card beside it."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment
from safetensors.torch import save
from torch import nn

from repro.config.choices import choice
from repro.config.schema import Arch, Config
from repro.errors import RequestError, flat
from repro.model.reading import PAPER
from repro.model.vgg import VGG, Dropout
from repro.protocol.protocols import ONE_NUMBER, PROTOCOLS, readings, views
from repro.protocol.scales import pixels, single_q
from repro.release import graph
from repro.release.answers import class_names
from repro.release.trained import finished_run, opened
from repro.report.deviations import deviations
from repro.report.page import plain
from repro.store import views as stored
from repro.store.files import unwritable, write_whole
from repro.store.runs import Run, check_outside
from repro.weights.contents import METADATA, of_run

ENDINGS = {"torchvision": (".pth", ".pt"), "safetensors": (".safetensors",), "onnx": (".onnx",)}
TO_FILL = "TO BE FILLED IN: the licence of these weights; that of the images may bear on it"
TORCHVISIONS = {
    f"{letter}{batch_norm}": f"vgg{depth}{batch_norm.replace('-BN', '_bn')}"
    for letter, depth in (("A", 11), ("B", 13), ("D", 16), ("E", 19))
    for batch_norm in ("", "-BN")
}
"""Which of torchvision's nets has a configuration's layers and takes its weights."""


def export(
    folder: Path, kind: str, out: Path, overwrite: bool, root: str | None = None
) -> list[str]:
    """Write the net of a finished run to a file, and its model card beside it; what to say.

    RequestError: no such run or format, or a file is in the way. RunError: damaged weights, a check
    that failed, a full disk. `root`: the run's data, for the names of classes.
    """
    if kind not in ENDINGS:
        raise RequestError(f"format={kind} is not known: choose from {', '.join(ENDINGS)}")
    if out.suffix not in ENDINGS[kind] or not out.name.isprintable() or "`" in out.name:
        expected = f"a plain name that ends with {' or '.join(ENDINGS[kind])}"
        raise RequestError(f"out={str(out)!a}: expected {expected}")
    beside = out.with_name(f"{out.name}.md")
    _check_places([out, beside], overwrite)
    run = finished_run(folder)
    classes, difference = class_names(run, root), None
    with opened(run, torch.device("cpu")) as trained:
        net = trained.net.float()
        state = {name: values.detach().contiguous() for name, values in net.state_dict().items()}
        name = torchvision_name(run.config)
        line = "a state dict in torchvision's naming; its card has the lines that load it"
        if name is not None:
            line = f"what torchvision.models.{name}(num_classes={len(classes)}) takes"
        if kind == "torchvision":
            torch.save(state, buffer := io.BytesIO())
            content = buffer.getvalue()
        elif kind == "safetensors":
            content = save(state, _says(run, classes))
        else:
            wanted = of_run(run.config, run.result)
            content, difference = graph.graph(net, wanted, _says(run, classes))
            line = f"checked: onnxruntime is {difference:.1e} from torch"
        said = _card(run, net, kind, out.name, classes, difference)
    _write_both(beside, said.encode(), out, content)
    return [f"{out}: {line}", f"{beside}: its card; the licence is to be filled in"]


def _write_both(beside: Path, card: bytes, out: Path, content: bytes) -> None:
    """Write a card, then its net; where that fails, the card that was there is there again."""
    before = beside.read_bytes() if beside.exists() else None
    write_whole(beside, card)
    try:
        write_whole(out, content)
    except BaseException:
        # No card of another net, and none without a net in the way of the next attempt.
        if before is None:
            beside.unlink()
        else:
            write_whole(beside, before)
        raise


def _check_places(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse a folder that is a run's, in one or not writable, and files that are there already."""
    folder = paths[0].parent
    if reason := unwritable(folder):
        raise RequestError(f"out={folder} is no folder that can be written to: {reason}")
    check_outside(folder)
    for path in paths:
        if path.is_dir() or (path.exists() and not overwrite):
            raise RequestError(f"{path} is there already: name another, or add overwrite=true")


def _says(run: Run, classes: Sequence[str]) -> dict[str, str]:
    """The words that a file with room for them carries about itself, each text or JSON."""
    crop, wanted = str(run.config.size.crop), json.dumps(of_run(run.config, run.result).tree)
    texts = {"run": run.name, "arch": run.config.arch.name, "crop": crop}
    return texts | {METADATA: wanted, "classes": json.dumps(list(classes))}


def torchvision_name(config: Config) -> str | None:
    """Which of torchvision's nets takes the weights of a run; None: none does."""
    name = config.arch.name
    if name not in TORCHVISIONS or config.arch != Arch(**choice("arch", name)):
        return None
    paper = replace(config.size, name=PAPER.name) == PAPER
    return TORCHVISIONS[name] if paper and config.data.channels == 3 else None


def _card(
    run: Run, net: VGG, kind: str, file: str, classes: Sequence[str], difference: float | None
) -> str:
    """A model card in Markdown; `difference` is how far onnxruntime is from torch, for a graph."""
    jinja = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    jinja.filters |= {
        # What a folder or a stored file says becomes neither a cell nor a tag.
        "cell": lambda text: plain(flat(str(text or ""))),
        "numbers": lambda values: ", ".join(f"{value:.6g}" for value in values),
        "code": _code,
    }
    page, config = Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8"), run.config
    return jinja.from_string(page).render(
        run=run,
        net=net,
        kind=kind,
        file=flat(file),
        quoted=json.dumps(file, ensure_ascii=False),
        classes=classes,
        difference=difference,
        to_fill=TO_FILL,
        wanted=of_run(config, run.result),
        torchvision=torchvision_name(config),
        side=pixels(single_q(config.scale), config.size.crop),
        errors=list(_errors(run)),
        departs=[] if run.published else deviations(run),
    )


def _code(part: nn.Module) -> str:
    """A layer as it is written in Python; for most, torch's own words for it are that."""
    # Versions of torch differ in what they say of a batch normalisation.
    norm = isinstance(part, nn.BatchNorm2d)
    said = f"BatchNorm2d({part.num_features})" if norm else str(part)
    return f"nn.Dropout({part.p:g})" if isinstance(part, Dropout) else f"nn.{said}"


def _errors(run: Run) -> Iterator[tuple[Any, ...]]:
    """The errors of the protocols whose views are stored, with n and interval."""
    for protocol in ONE_NUMBER:
        wanted = views(protocol, run.config)
        if (mean := stored.mean_of(run.folder, wanted, run.tested)) is not None:
            section, qs = PROTOCOLS[protocol].section, readings(protocol, run.config.scale)[0]
            for k in (1, 5) if run.tested.classes > 5 else (1,):
                found = stored.interval(stored.wrong(mean, k))
                yield (protocol, section, qs, k, *found, len(mean.labels))
