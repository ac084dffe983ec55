"""Exporting a run's net: a weight file that other programs take, and its card beside it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from repro.errors import RequestError, RunError
from repro.model.vgg import VGG
from repro.release import graph
from repro.release.card import card, input_lines, resizing
from repro.release.classes import class_names
from repro.release.command import check_place
from repro.release.loading import loader, torchvision_name
from repro.release.trained import convention, finished_run, opened
from repro.store.files import write_whole
from repro.store.runs import Run
from repro.weights.convention import METADATA


@dataclass(frozen=True)
class Format:
    """A kind of file: how its name ends, and what it holds."""

    endings: tuple[str, ...]
    make: Callable[[Run, VGG, Path, Sequence[str]], Made]
    """From the run, its net in float32, the file and the names of the classes."""


@dataclass(frozen=True)
class Made:
    """The content of a file, and what its card says of it."""

    content: bytes
    loading: str
    wants: str
    line: str
    """For the user: what takes the file, or how it was checked."""


def export(
    folder: Path, kind: str, out: Path, overwrite: bool, root: str | None = None
) -> list[str]:
    """Write the net of a finished run to a file, and a model card beside it; what to say.

    Args:
        folder: the run's.
        kind: a key of `FORMATS`.
        out: the file; the card has its name with `.md` behind it.
        overwrite: whether files that are there may be replaced.
        root: where the run's data lies here, for the names of classes; None: where it says.

    Raises:
        RequestError: no such run or format, or a file is in the way.
        RunError: the weights are damaged, the check failed, or nothing can be written.
    """
    if kind not in FORMATS:
        raise RequestError(f"format={kind} is not known: choose from {', '.join(FORMATS)}")
    chosen, beside = FORMATS[kind], out.with_name(f"{out.name}.md")
    if not out.name.isprintable() or "`" in out.name:
        raise RequestError(f"out={out!a}: expected a name that a card can show")
    if out.suffix not in chosen.endings:
        raise RequestError(
            f"out={out}: a file of format={kind} ends with {' or '.join(chosen.endings)}"
        )
    for path in (out, beside):
        if path.is_dir() or (path.exists() and not overwrite):
            raise RequestError(f"{path} is there already: name another, or add overwrite=true")
    check_place(out.parent)
    run = finished_run(folder)
    if kind == "onnx":
        graph.check_installed()
    classes = class_names(run, root)
    with opened(run, torch.device("cpu")) as trained:
        made = chosen.make(run, trained.net.float(), out, classes)
        said = card(run, out.name, made.loading, made.wants, classes)
    fresh = not beside.exists()
    write_whole(beside, said.encode())
    try:
        write_whole(out, made.content)
    except RunError:
        # A card of nothing would be left.
        with contextlib.suppress(OSError):
            if fresh:
                beside.unlink()
        raise
    return [f"{out}: {made.line}", f"{beside}: its card; the licence is to be filled in"]


def _state(net: VGG) -> dict[str, Tensor]:
    return {name: t.detach().contiguous() for name, t in net.state_dict().items()}


def _torchvision(run: Run, net: VGG, out: Path, classes: Sequence[str]) -> Made:
    buffer = io.BytesIO()
    torch.save(_state(net), buffer)
    return _weights(run, net, buffer.getvalue(), f"torch.load({_quoted(out)}, weights_only=True)")


def _safetensors(run: Run, net: VGG, out: Path, classes: Sequence[str]) -> Made:
    content = save(_state(net), {key: _text(value) for key, value in says(run, classes).items()})
    imports = "from safetensors.torch import load_file\n"
    return _weights(run, net, content, f"load_file({_quoted(out)})", imports)


def _weights(run: Run, net: VGG, content: bytes, read: str, imports: str = "") -> Made:
    sentence, code = input_lines(run)
    loading = f"```python\n{loader(net, read, imports.strip())}```\n"
    wants = f"{sentence}\n```python\n{code}posteriors = net(values).softmax(dim=1)\n```\n\n"
    name = torchvision_name(net)
    line = (
        "a state dict in torchvision's naming; its card has the lines that load it"
        if name is None
        else f"what torchvision.models.{name}(num_classes={net.spec.classes}) takes"
    )
    return Made(content, loading, wants + resizing(run), line)


def _onnx(run: Run, net: VGG, out: Path, classes: Sequence[str]) -> Made:
    content, difference = graph.graph(net, convention(run), says(run, classes))
    crop, channels = net.spec.crop, net.spec.channels
    loading = (
        "```python\nimport onnxruntime\n\n"
        f"session = onnxruntime.InferenceSession({_quoted(out)})\n"
        'posteriors, score_map = session.run(None, {"images": images})\n```\n\n'
        f"onnxruntime's posteriors and scores were at most {difference:.1e} from torch's on "
        "made-up images of two shapes when the file was written.\n"
    )
    wants = (
        f"`images`: uint8 (N, {channels}, H, W), {'RGB' if channels == 3 else 'grey'} images as "
        f"they are decoded, H and W at least {crop}. The mean and the scale are inside the graph. "
        "`posteriors`: (N, classes), the soft-max of the class score map averaged over space "
        "(dense evaluation, Section 3.2). `score_map`: (N, classes, rows, columns), before the "
        f"soft-max; one cell for images of {crop}x{crop}.\n\n"
    )
    line = f"checked: onnxruntime is {difference:.1e} from torch"
    return Made(content, loading, wants + resizing(run), line)


FORMATS = {
    "torchvision": Format((".pth", ".pt"), _torchvision),
    "safetensors": Format((".safetensors",), _safetensors),
    "onnx": Format((".onnx",), _onnx),
}


def says(run: Run, classes: Sequence[str]) -> dict[str, object]:
    """What a file that has room for it says of itself."""
    config, wanted = run.config, convention(run)
    mean = [value * 255 / wanted.input_range for value in wanted.mean]
    return {
        "run": run.name,
        "arch": config.arch.name,
        "crop": config.size.crop,
        "channels": wanted.order,
        "mean": mean,
        "input_range": wanted.input_range,
        METADATA: json.dumps(wanted.tree, sort_keys=True),
        "classes": list(classes),
    }


def _quoted(out: Path) -> str:
    """The file's name as Python writes it."""
    return json.dumps(out.name, ensure_ascii=False)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
