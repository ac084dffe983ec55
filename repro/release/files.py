"""Exporting a run's net: a weight file that other programs take, and its card beside it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save

from repro.errors import RequestError
from repro.release import card, graph
from repro.release.answers import class_names
from repro.release.trained import convention, finished_run, opened
from repro.store.files import unwritable, write_whole
from repro.store.runs import CONFIG, FAILED, LOG, RESULT, WEIGHTS, Run
from repro.weights.contents import METADATA

ENDINGS = {"torchvision": (".pth", ".pt"), "safetensors": (".safetensors",), "onnx": (".onnx",)}
"""The formats, and how the names of their files end."""


def export(
    folder: Path, kind: str, out: Path, overwrite: bool, root: str | None = None
) -> list[str]:
    """Write the net of a finished run to a file, and its model card beside it; what to say.

    RequestError: no such run or format, or a file is in the way. RunError: the weights are damaged,
    the check failed, or nothing can be written. `root`: the run's data, for the names of classes.
    """
    if kind not in ENDINGS:
        raise RequestError(f"format={kind} is not known: choose from {', '.join(ENDINGS)}")
    if out.suffix not in ENDINGS[kind] or not out.name.isprintable() or "`" in out.name:
        expected = f"a plain name that ends with {' or '.join(ENDINGS[kind])}"
        raise RequestError(f"out={out!a}: expected {expected}")
    beside = out.with_name(f"{out.name}.md")
    check_places([out, beside], overwrite)
    run = finished_run(folder)
    if kind == "onnx":
        graph.check_installed()
    classes, difference = class_names(run, root), None
    with opened(run, torch.device("cpu")) as trained:
        net = trained.net.float()
        state = {name: values.detach().contiguous() for name, values in net.state_dict().items()}
        name = card.torchvision_name(run.config)
        line = "a state dict in torchvision's naming; its card has the lines that load it"
        if name is not None:
            line = f"what torchvision.models.{name}(num_classes={len(classes)}) takes"
        if kind == "torchvision":
            buffer = io.BytesIO()
            torch.save(state, buffer)
            content = buffer.getvalue()
        elif kind == "safetensors":
            content = save(state, says(run, classes))
        else:
            content, difference = graph.graph(net, convention(run), says(run, classes))
            line = f"checked: onnxruntime is {difference:.1e} from torch"
        said = card.card(run, net, kind, out.name, classes, difference)
    write_whole(out, content)
    write_whole(beside, said.encode())
    return [f"{out}: {line}", f"{beside}: its card; the licence is to be filled in"]


def check_places(paths: Sequence[Path], overwrite: bool) -> None:
    """Refuse files to be written, all in one folder, before any work.

    RequestError: the folder is a run's, in one or not writable; a file is there already.
    """
    folder = paths[0].parent
    if reason := unwritable(folder):
        raise RequestError(f"out={folder} is no folder that can be written to: {reason}")
    for place in (folder.resolve(), *folder.resolve().parents):
        others = (place / name for name in (RESULT, WEIGHTS, LOG, FAILED))
        if (place / CONFIG).is_file() and any(other.exists() for other in others):
            raise RequestError(f"out={folder} is the folder of a run, or in it: name another")
    for path in paths:
        if path.is_dir() or (path.exists() and not overwrite):
            raise RequestError(f"{path} is there already: name another, or add overwrite=true")


def says(run: Run, classes: Sequence[str]) -> dict[str, str]:
    """What a file that has room for it says of itself, each value text or JSON."""
    wanted = convention(run)
    values = {
        "crop": run.config.size.crop,
        "mean": [value * 255 / wanted.input_range for value in wanted.mean],
        "input_range": wanted.input_range,
        METADATA: wanted.tree,
        "classes": list(classes),
    }
    texts = {"run": run.name, "arch": run.config.arch.name, "channels": wanted.order}
    return texts | {key: json.dumps(value) for key, value in values.items()}
