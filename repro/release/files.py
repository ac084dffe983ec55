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
from repro.release import card, graph
from repro.release.classes import class_names
from repro.release.command import check_places
from repro.release.loading import loader, torchvision_name
from repro.release.trained import convention, finished_run, opened
from repro.store.files import write_whole
from repro.store.runs import Run
from repro.weights.convention import METADATA


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
        RequestError: no such run or format, a file is in the way, or it would lie in a run.
        RunError: the weights are damaged, the check failed, or nothing can be written.
    """
    if kind not in FORMATS:
        raise RequestError(f"format={kind} is not known: choose from {', '.join(FORMATS)}")
    (endings, make), beside = FORMATS[kind], out.with_name(f"{out.name}.md")
    if not out.name.isprintable() or "`" in out.name:
        raise RequestError(f"out={out!a}: expected a name that a card can show")
    if out.suffix not in endings:
        raise RequestError(f"out={out}: a file of format={kind} ends with {' or '.join(endings)}")
    check_places([out, beside], overwrite)
    run = finished_run(folder)
    if kind == "onnx":
        graph.check_installed()
    classes = class_names(run, root)
    with opened(run, torch.device("cpu")) as trained:
        made = make(run, trained.net.float(), out, classes)
        said = card.card(run, out.name, made.loading, made.wants, classes)
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
    return {name: values.detach().contiguous() for name, values in net.state_dict().items()}


def _torchvision(run: Run, net: VGG, out: Path, classes: Sequence[str]) -> Made:
    buffer = io.BytesIO()
    torch.save(_state(net), buffer)
    return _weights(run, net, buffer.getvalue(), f"torch.load({_quoted(out)}, weights_only=True)")


def _safetensors(run: Run, net: VGG, out: Path, classes: Sequence[str]) -> Made:
    content = save(_state(net), says(run, classes))
    imports = "from safetensors.torch import load_file\n"
    return _weights(run, net, content, f"load_file({_quoted(out)})", imports)


def _weights(run: Run, net: VGG, content: bytes, read: str, imports: str = "") -> Made:
    name = torchvision_name(net)
    line = (
        "a state dict in torchvision's naming; its card has the lines that load it"
        if name is None
        else f"what torchvision.models.{name}(num_classes={net.spec.classes}) takes"
    )
    return Made(content, f"```python\n{loader(net, read, imports)}```\n", card.tensors(run), line)


def _onnx(run: Run, net: VGG, out: Path, classes: Sequence[str]) -> Made:
    content, difference = graph.graph(net, convention(run), says(run, classes))
    loading = (
        "```python\nimport onnxruntime\n\n"
        f"session = onnxruntime.InferenceSession({_quoted(out)})\n"
        'posteriors, score_map = session.run(None, {"images": images})\n```\n\n'
        f"onnxruntime's posteriors and scores were at most {difference:.1e} from torch's on "
        "made-up images of two shapes when the file was written.\n"
    )
    line = f"checked: onnxruntime is {difference:.1e} from torch"
    return Made(content, loading, card.decoded(run), line)


FORMATS: dict[str, tuple[tuple[str, ...], Callable[[Run, VGG, Path, Sequence[str]], Made]]] = {
    "torchvision": ((".pth", ".pt"), _torchvision),
    "safetensors": ((".safetensors",), _safetensors),
    "onnx": ((".onnx",), _onnx),
}
"""How the names of a format's files end, and what makes one from the run, its net in float32, the
file and the names of the classes."""


def says(run: Run, classes: Sequence[str]) -> dict[str, str]:
    """What a file that has room for it says of itself, each value text or JSON."""
    wanted = convention(run)
    texts = {"run": run.name, "arch": run.config.arch.name, "channels": wanted.order}
    values = {
        "crop": run.config.size.crop,
        "mean": [value * 255 / wanted.input_range for value in wanted.mean],
        "input_range": wanted.input_range,
        METADATA: wanted.tree,
        "classes": list(classes),
    }
    return texts | {key: json.dumps(value) for key, value in values.items()}


def _quoted(out: Path) -> str:
    """The file's name as Python writes it."""
    return json.dumps(out.name, ensure_ascii=False)
