"""State dicts by the names of their tensors, in torch's files and in safetensors.

torch's `.pth` is opened with `weights_only=True`, which builds tensors and runs nothing. Older
torch could be made to run code even so (CVE-2026-24747), hence the bound on its version.
"""

import argparse
import contextlib
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from repro.errors import RequestError
from repro.store.runs import read_config, read_result
from repro.weights.contents import CAFFE, METADATA, TORCHVISION, Weights, of_run, recorded

OLDEST = "2.10"
AVERAGED = ("state_dict_ema", "model_ema")
"""Keys of a moving average of the weights, which is taken before the weights, as timm does."""
WRAPPED = (*AVERAGED, "state_dict", "model", "model_state_dict", "net")
FIRST = "features.0.weight"
WRAPPERS = {"module", "_orig_mod"}
"""Words that DataParallel, averaging and `torch.compile` put between modules' names."""
COUNTERS = ("num_batches_tracked", "n_averaged")
NUMBERED = re.compile(r"(features|classifier)\.(\d{1,4})")
TIMM = ["pre_logits.fc1", "pre_logits.fc2", "head.fc"]
JCJOHNSON = ["classifier.1", "classifier.4", "classifier.6"]
PARTS = ("weight", "bias", "running_mean", "running_var")


def read_torch(path: Path) -> Weights:
    """The layers of a state dict, or of one within a checkpoint."""
    if torch.__version__ < OLDEST:
        here = f"torch {torch.__version__}"
        raise RequestError(f"{here} may run code (CVE-2026-24747): expected {OLDEST} or newer")
    try:
        # Checkpoints of torchvision's references hold their options in a Namespace: plain values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            # Mapped, a zip file's tensors take memory only as they are read.
            mapped = zipfile.is_zipfile(path)
            content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        if not isinstance(error, pickle.UnpicklingError) and "weights_only" not in str(error):
            raise
        advice = "torch.save(net.state_dict(), FILE)"
        raise RequestError(f"it holds more than tensors: save these alone, {advice}") from None
    averaged = ""
    while isinstance(content, Mapping):
        wrapped = (key for key in WRAPPED if isinstance(content.get(key), Mapping))
        if (key := next(wrapped, None)) is None:
            break
        averaged, content = " (moving average)" if key in AVERAGED else averaged, content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise RequestError(f"it holds a {type(content).__name__}: expected tensors by their names")
    contents = _contents(content)
    return contents._replace(format=contents.format + averaged)


def read_safetensors(path: Path) -> Weights:
    """The layers that the tensors' names tell.

    The input is what the metadata say (`vgg_repro.input`), or that of the run in whose folder the
    file lies. timm's names tell timm's; torchvision's are ours too and tell none.
    """
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        found = _contents({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    if METADATA in metadata:
        wanted = recorded(json.loads(metadata[METADATA]))
        names = json.loads(metadata.get("classes", "null"))
        classes = tuple(map(str, names)) if isinstance(names, list) else None
        return found._replace(format="safetensors", convention=wanted, classes=classes)
    if found.format != "torchvision":
        return found
    found = found._replace(format="safetensors")
    # Where it lies in no run, nothing is read.
    with contextlib.suppress(RequestError):
        config, result = read_config(path.parent)[0], read_result(path.parent)
        if result is not None:
            return found._replace(convention=of_run(config, result))
    return found._replace(doubt="nothing tells what input it wants")


def _contents(tensors: Mapping[str, Tensor]) -> Weights:
    """The layers that a state dict names, in order; wrappers and a common prefix are put aside."""
    names = {n: ".".join(p for p in n.split(".") if p not in WRAPPERS) for n in tensors}
    plain = {names[name]: value for name, value in tensors.items()}
    prefix = next((name[: -len(FIRST)] for name in plain if name.endswith(FIRST)), None)
    if prefix is None:
        some = ", ".join(list(tensors)[:3])
        raise RequestError(f"it holds {some} ...: expected {FIRST} and so on")
    found: dict[str, Tensor] = {}
    for name, value in plain.items():
        if name.rpartition(".")[2] not in COUNTERS:
            # Strides of zero would make much of little.
            stored = value.untyped_storage().nbytes() if value.device.type == "cpu" else 0
            if not value.is_floating_point() or value.numel() * value.element_size() > stored:
                raise RequestError(f"its {name} is no plain tensor of floating-point numbers")
            found[name.removeprefix(prefix)] = value.detach()
    modules = dict.fromkeys(name.rpartition(".")[0] for name in found)
    order = sorted(filter(NUMBERED.fullmatch, modules), key=lambda n: int(n.split(".")[1]))
    convs, linears = ([n for n in order if n.startswith(p)] for p in ("features", "classifier"))
    wanted, written = TORCHVISION, "torchvision"
    if TIMM[0] in modules:
        written, linears = "timm", TIMM
    elif linears == JCJOHNSON:
        wanted, written = CAFFE, "jcjohnson's torch file"
    named = [f"{name}.{part}" for name in convs + linears for part in PARTS]
    if other := found.keys() - set(named):
        raise RequestError(f"it also holds {min(other)}, which these nets do not have")
    return Weights({name: found[name] for name in named if name in found}, wanted, written)
