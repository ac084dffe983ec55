"""The contestants of scripts/bench.py: what each does in a round, and who meets whom."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from work import Task, Turn, on_gpu

from repro.config.schema import EAGER, Config
from repro.errors import RunError
from repro.model.cost import training_flops
from repro.protocol.protocols import View
from repro.run import checkpoint, timing
from repro.run.device import computing_in, memory_format, torch_settings
from repro.run.environment import cpu, device_name
from repro.run.interruption import Stop
from repro.run.loop import Training
from repro.run.progress import Chance
from repro.run.schedule import OPTIMISERS
from repro.run.views import EvaluationOptions, compute
from repro.store.folder import Folder

ROOT = Path(__file__).resolve().parents[1]
CROP, BATCH = 224, 32
"""Of the contest `jpeg`."""
TIMM = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}
"""The nets that timm has too."""
STEPS = 32
"""Batches of a round of those that no worker feeds, at most."""


def suite(task: Task, turn: Turn, mode: str = EAGER, save_each: float = 1e9) -> None:
    """Train by `repro.run.loop`, as a run does; an epoch is a round."""
    config = replace(task.config, compile=mode, checkpoint_seconds=save_each)
    # Each is followed by the next, so that a round has several.
    checkpoint.SHARE = 0
    side = task.side(256)
    split = task.files("photos", again=True) if task.in_files else task.noise()

    def validate() -> float:
        timing.wait(task.device)
        if training.progress.iteration % len(crops) or not math.isfinite(
            training.progress.loss_sum
        ):
            raise RunError("this suite's net did not train")
        turn(len(split.labels))
        return 0.0

    crops = task.crops(split, side, side, config.size.crop, config.recipe.batch)
    made = crops.epoch
    # On a GPU a batch is sent while the one before is computed.
    sent = int(task.device.type == "cuda")
    crops.epoch = lambda *at: turn.counted(made(*at), task.ahead(split), task.device, sent)
    with tempfile.TemporaryDirectory() as folder:
        held, chance = Folder(Path(folder), lambda: None), Chance(90.0, 90.0)
        how: dict[str, Any] = {"prepare": task.prepare(), "validate": validate, "chance": chance}
        training = Training(task.net(), crops, config, held, Stop(), **how, say=lambda line: None)
        raise RunError(f"this suite's net did not train: {training.run().reason}")


def fast_suite(task: Task, turn: Turn, mode: str) -> None:
    """As `suite`, by whatever algorithms of cuDNN are the fastest in a trial, as its peers."""
    with torch_settings(replace(task.config, fast=True)):
        suite(task, turn, mode)


def bare(task: Task, turn: Turn, mode: str = EAGER) -> None:
    """Take steps on one batch of noise that is already there."""
    config = replace(task.config, compile=mode)
    batch = min(config.recipe.batch, task.images)
    step = timing.training_step(task.net(), config, task.device, batch)
    steps = min(task.images // batch, STEPS)
    while True:
        # As the others, whose first batches are not counted.
        step()
        turn.begin(task.device)
        for _ in range(steps):
            step()
        timing.wait(task.device)
        turn(steps * batch)


def peak(task: Task, turn: Turn) -> None:
    """Multiply large matrices, as images a second of as many operations: the machine's peak."""
    side = 8192 if task.device.type == "cuda" else 2048
    dtype = torch.bfloat16 if task.config.precision == "bf16" else torch.float32
    one = torch.randn(side, side, device=task.device, dtype=dtype)
    images = 2 * side**3 / training_flops(task.net().spec)
    times = max(1, round(min(task.images, STEPS * task.config.recipe.batch) / images))
    while True:
        one @ one
        turn.begin(task.device)
        for _ in range(times):
            one @ one
        timing.wait(task.device)
        turn(times * images)


def references(task: Task, turn: Turn, mode: str = EAGER, timms: str = "") -> None:
    """Train by a loop as in torchvision's references; the suite's net or timm's.

    Its maps lie as they are fastest: channels last, but in full precision on a GPU.
    """
    config, device, side = task.config, task.device, task.side(256)
    layout = memory_format(config, device)
    split = task.files("photos", again=True) if task.in_files else task.noise()
    batches = task.loader(split, side, side, config.size.crop, config.recipe.batch, pin=True)
    net: nn.Module = (
        import_module("timm").create_model(timms, num_classes=10) if timms else task.net()
    )
    net = net.to(device, memory_format=layout).train()
    # With sizes that may change the last, smaller batch would slow down all others.
    forward = net if mode == EAGER else torch.compile(net, mode=mode, dynamic=False)
    optimiser = OPTIMISERS[config.recipe.optimiser](net.parameters(), config.recipe)
    half = config.precision == "bf16"
    while True:
        total = torch.zeros((), device=device)
        for images, labels in turn.counted(batches, task.ahead(split), device):
            images = images.to(device, non_blocking=True, memory_format=layout)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                scores = forward(images)
                # Else the processor would wait here for all that the device has to do.
                labels = labels.to(device, non_blocking=True)
                loss = nn.functional.cross_entropy(scores, labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += loss.detach()
        if not math.isfinite(total.item()):
            raise RunError("the references' net did not train")
        turn(len(split.labels))


def suite_crops(task: Task, turn: Turn, smin: int, smax: int, where: str = "files") -> None:
    """Make crops by `repro.data.loader`, of 224 pixels from JPEG files, or of images in memory."""
    if where == "files":
        split, to = task.files("photos", again=True), torch.device("cpu")
        crops = task.crops(split, smin, smax, CROP, BATCH)
    else:
        split, to = task.noise(), task.device
        size = task.config.size.crop, task.config.recipe.batch
        crops = task.crops(split, task.side(smin), task.side(smax), *size)
        crops = replace(crops, device=task.device if where == "device" else None)
    epoch = 0
    while True:
        batches = turn.counted(crops.epoch(epoch), task.ahead(split), task.device)
        count = sum(len(images.to(to).float()) for images, *_ in batches)
        timing.wait(to)
        turn(count)
        epoch += 1


def v2_crops(task: Task, turn: Turn, smin: int, smax: int) -> None:
    """Make them by torchvision's v2 transforms of tensors."""
    split = task.files("photos", again=True)
    batches = task.loader(split, smin, smax, CROP, BATCH, pin=False)
    while True:
        own = turn.counted(batches, task.ahead(split), task.device)
        turn(sum(len(images) for images, _ in own))


def dense(task: Task, turn: Turn, q: int) -> None:
    """Evaluate densely by `repro.run.views`."""
    net, split, view = task.net().eval(), task.rescaled(q), View("dense", q, False)
    options = EvaluationOptions(task.prepare(), task.config.test_batch, task.config.views_in)
    while True:
        compute(net, view, split, options)
        turn(len(split.labels))


def one_by_one(task: Task, turn: Turn, q: int) -> None:
    """Evaluate densely as one would with torch alone: FC layers as convolutions, image by image."""
    net, split, prepare = task.net(), task.rescaled(q), task.prepare()
    layers, side = [net.features], net.spec.linears[0].side
    for part in net.classifier:
        if isinstance(part, nn.Linear):
            weight = part.weight.detach().view(part.out_features, -1, side, side)
            conv = nn.Conv2d(weight.shape[1], part.out_features, side, device=task.device)
            conv.weight, conv.bias, side, part = nn.Parameter(weight), part.bias, 1, conv
        layers.append(part)
    fully = nn.Sequential(*layers).to(memory_format=memory_format(task.config, task.device)).eval()
    while True:
        with torch.inference_mode(), computing_in(task.config.views_in):
            for index in range(len(split.labels)):
                fully(prepare(split.images[index][None])).mean((2, 3)).softmax(1).cpu()
        turn(len(split.labels))


def program(task: Task, turn: Turn, *words: str) -> None:
    """Start Python anew and wait for its end."""
    while True:
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, *(word.replace("OUT", out) for word in words)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RunError(f"{' '.join(words)}: {done.stderr.strip().splitlines()[-1:]}")
        turn(1)


@contextmanager
def settings(does: Callable[..., None], config: Config) -> Iterator[None]:
    """A run's for the suite; for its peers the same threads and cuDNN's fastest algorithms."""
    if does not in (references, v2_crops, one_by_one):
        with torch_settings(config):
            yield
        return
    torch.set_num_threads(config.threads)
    # Of images of many shapes each new one would be tried out.
    torch.backends.cudnn.benchmark = does is not one_by_one
    with computing_in(config.precision):
        yield


Contestants = dict[str, tuple[Any, ...]]
"""What each does, and by which arguments; the first is the one that others are set against."""


def _trains(task: Task, mode: str) -> Contestants:
    """Who takes part in training; on a GPU in full precision, which is slow, only the main ones."""
    cuda, arch = task.device.type == "cuda", task.config.arch.name
    found: Contestants = {"this suite": (suite, mode)}
    found |= {"torchvision's references": (references, mode)}
    if not cuda or task.config.precision == "bf16":
        found |= {"bare step": (bare, mode)}
        found |= {"this suite, a checkpoint each second": (suite, mode, 1.0)}
        found |= {"this suite, fast=true": (fast_suite, mode)} if cuda else {}
        timms = TIMM.get(arch) if task.in_files and find_spec("timm") else None
        found |= {"timm's net": (references, mode, timms)} if timms else {}
    found |= {"this suite, not compiled": (suite,)} if mode != EAGER else {}
    return found | {"matrix products": (peak,)}


def contests(only: str, task: Task) -> Iterator[tuple[str, str, Contestants]]:
    """The name of each contest that is wanted, the unit of its rates, and who takes part."""
    config = task.config
    net = f"{config.arch.name}, size={config.size.name}, {config.precision}"
    wanted = only.split(",")
    if "training" in wanted:
        for mode in task.modes:
            how = f", compile={mode}" * (mode != EAGER)
            yield f"training {net}{how}", "images/s", _trains(task, mode)
    if "memory" in wanted:
        two: Contestants = {
            f"on the {one}": (suite_crops, 256, 512, one) for one in ("device", "CPU")
        }
        yield f"32x32 in memory to jittered crops, size={config.size.name}", "images/s", two
    if "jpeg" in wanted:
        for smin, smax in ((256, 256), (256, 512)):
            ours, theirs = (suite_crops, smin, smax), (v2_crops, smin, smax)
            name = f"JPEG to crops, S in [{smin};{smax}], {config.workers} workers"
            yield name, "images/s", {"this suite": ours, "v2 on tensors": theirs}
    if "dense" in wanted:
        for q in (256, 384, 512):
            two = {"this suite": (dense, q), "one image at a time": (one_by_one, q)}
            how = net.replace(config.precision, config.views_in)
            yield f"dense evaluation, Q={q}, {how}", "images/s", two
    if "startup" in wanted:
        run = ("-m", "repro.run", "runs=OUT/runs", "progress=false")
        starts = {
            "import torch": ("-c", "import torch"),
            "--help": (*run, "--help"),
            "a dry run of 100 jobs": (*run, "-m", "seed=range(100)", "dry_run=true"),
            "a run of two batches": (*run, "recipe=smoke", "recipe.train_images=16", "size=tiny"),
            "a report": ("-m", "repro.report", "runs=reports/tiny_imagenet", "out=OUT/report"),
        }
        yield "start-up", "starts/s", {name: (program, *words) for name, words in starts.items()}


def variants(own: dict[str, str], words: list[str]) -> Iterator[tuple[dict[str, str], list[str]]]:
    """The commands that one command stands for: its own, dense at full size, other precisions."""
    wanted, keys = own["only"].split(","), {word.partition("=")[0] for word in words}
    gpu, sized = on_gpu(words), "size" in keys
    # Small images would be enlarged to full size.
    apart = gpu and not sized and "memory" in wanted
    if first := [one for one in wanted if one != "memory" or not apart]:
        yield own | {"only": ",".join(first)}, words
    if apart:
        yield own | {"only": "memory"}, [*words, "size=eighth"]
    if not gpu and "dense" in wanted and not sized:
        yield own | {"only": "dense", "images": "8"}, [*words, "size=paper"]
    if gpu and "training" in wanted and "precision" not in keys:
        for precision in ("tf32", "float32"):
            yield own | {"only": "training"}, [*words, f"precision={precision}", "compile=none"]


def versions(task: Task) -> str:
    """Machine, driver and libraries, in a line."""
    cores = f"{os.cpu_count()} cores, {task.config.threads} threads"
    found = [device_name(task.device), cpu(), cores]
    if task.device.type == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            driver = subprocess.run(query, capture_output=True, text=True).stdout.split()
        except FileNotFoundError:
            driver = []
        cudnn = torch.backends.cudnn.version()
        found += [f"driver {driver[:1]}, CUDA {torch.version.cuda}, cuDNN {cudnn}"]
    names = [name for name in ("torch", "torchvision", "timm") if find_spec(name)]
    return ", ".join([*found, *(f"{name} {version(name)}" for name in names)])
