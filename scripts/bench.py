"""Measure this machine, this suite and its peers on the same work, in one run.

    python scripts/bench.py                                      some twenty minutes on two cores
    python scripts/bench.py only=training,dense rounds=9
    python scripts/bench.py only=training,dense size=paper recipe.batch=4 images=20
    python scripts/bench.py device=cuda                          full size, bf16, compiled
    python scripts/bench.py photos=FOLDER                        JPEG files instead of made-up ones

Its own words are only=, rounds=, images=, photos= and out=; all others are those of repro.run.

Contests:
  training   the suite's loop against a loop as in torchvision's references and the bare step (the
             limit): from images in memory, at size=paper from JPEG files; also compiled where
             compile= says how
  jpeg       photographs to training crops, against torchvision's v2 transforms of tensors
  dense      dense evaluation of images of many shapes, against one image at a time
  startup    until help, a dry run of a hundred jobs, a report or a first run is there

Peers have their best settings: channels last, tensors, workers that persist, pinned memory on a
GPU. Each contestant is a process of its own, set up and compiled once, and they take turns; a first
round is not counted. One whose net does not train ends the program. Written are rates.csv (every
round) and summary.md (medians, their range, peak memory), in reports/bench-latest unless out= says
where. Rates hold for a machine; ratios carry further.
Exit status: 0 written; 2 the request was wrong; 75 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import v2

from repro.config.composing import Sweep
from repro.config.options import read as read_options
from repro.config.schema import EAGER, Config, typed
from repro.config.way_in import way_in
from repro.config.words import read, show, whole
from repro.data.images import ArrayImages, FileImages
from repro.data.inputs import Inputs
from repro.data.loader import TrainingCrops
from repro.data.rescale import rescale
from repro.data.split import Split
from repro.errors import RequestError, RunError
from repro.model import reading
from repro.model.init import initialise
from repro.model.vgg import VGG
from repro.protocol.protocols import View
from repro.protocol.scales import pixels
from repro.run import rate
from repro.run.device import memory_format, pick, torch_settings
from repro.run.environment import cpu, device_name
from repro.run.interruption import Stop
from repro.run.loop import Training
from repro.run.progress import Chance
from repro.run.schedule import OPTIMISERS
from repro.run.views import EvaluationOptions, compute
from repro.store.folder import Folder

ROOT = Path(__file__).resolve().parents[1]
CONTESTS = ("training", "jpeg", "dense", "startup")
OWN = {"only": ",".join(CONTESTS), "rounds": "5", "images": "1000", "photos": ""}
OWN["out"] = "reports/bench-latest"
ON_CPU = ["arch=D", "data=cifar10", "recipe.batch=64", "workers=2"]
ON_GPU = ["size=paper", "recipe.batch=256", "precision=bf16", "compile=default", "workers=16"]
LONG = ["recipe.epochs=100000", "progress=false", "checkpoint_seconds=1e9"]
MEAN = (123.0, 117.0, 104.0)
"""Grey levels that are subtracted; which ones does not matter here."""
CROP, BATCH = 224, 32
"""Of the contest `jpeg`."""
Turn = Callable[[float], None]
"""Ends a round in which so many units were done, and waits for the next one."""


class Task:
    """What the contestants work on: a net, how it computes, and the photographs."""

    def __init__(self, own: dict[str, str], words: list[str]) -> None:
        """Read a command's own words and those of a run; the later of two words wins."""
        gpu = ON_GPU if any(word.startswith("device=cuda") for word in words) else []
        (job,) = Sweep(read_options([*ON_CPU, *gpu, *words, *LONG])).jobs()
        if isinstance(job, RequestError):
            raise job
        self.config: Config = typed(job.config)
        self.device, self.images = pick(self.config.device), int(own["images"])
        self.photos, self.in_files = Path(own["photos"]), self.config.size.name == "paper"

    def side(self, q: int) -> int:
        """A scale S or Q in pixels."""
        return pixels(q, self.config.size.crop)

    def files(self, folder: str) -> Split:
        """Photographs."""
        paths = sorted(self.photos.joinpath(folder).rglob("*.jp*g"))[: self.images]
        return _split(FileImages(paths, 3))

    def noise(self) -> Split:
        """Noise in the shape of CIFAR-10, in memory."""
        random = torch.Generator().manual_seed(0)
        shape = (self.images, 3, 32, 32)
        return _split(ArrayImages(torch.randint(256, shape, dtype=torch.uint8, generator=random)))

    def net(self) -> VGG:
        """The net with its first weights."""
        config = self.config
        spec = reading.at_size(config.arch, config.size, channels=3, classes=10)
        net = VGG(spec, config.recipe.dropout)
        full = reading.at_full_size(config.arch, channels=3, classes=10)
        initialise(net, config.init.between, full, config.seed)
        return net.to(self.device).to(memory_format=memory_format(config, self.device))

    def prepare(self) -> Inputs:
        """From grey levels to the net's input."""
        layout = memory_format(self.config, self.device)
        return Inputs(MEAN, self.config.recipe.input_range, self.device, torch.float32, layout)

    def crops(self, split: Split, smin: int, smax: int, crop: int, batch: int) -> TrainingCrops:
        """The suite's training crops."""
        how: dict[str, Any] = {
            "mirror": True,
            "seed": 0,
            "colour": None,
            "workers": self.config.workers,
        }
        return TrainingCrops(split, smin=smin, smax=smax, crop=crop, batch=batch, **how)

    def loader(self, split: Split, smin: int, smax: int, crop: int, batch: int) -> DataLoader[Any]:
        """torchvision's training crops."""
        how: dict[str, Any] = {"num_workers": self.config.workers}
        how |= {"persistent_workers": True} if self.config.workers else {}
        how["pin_memory"] = self.device.type == "cuda"
        return DataLoader(Tensors(split, smin, smax, crop), batch, shuffle=True, **how)


def _split(images: FileImages | ArrayImages) -> Split:
    ids = tuple(map(str, range(len(images))))
    return Split(images, np.arange(len(images), dtype=np.int64) % 10, ids)


def suite(task: Task, turn: Turn, mode: str = EAGER) -> None:
    """Train by `repro.run.loop`, as a run does; an epoch is a round."""
    config, side = replace(task.config, compile=mode), task.side(256)
    split = task.files("photos") if task.in_files else task.noise()

    def validate() -> float:
        rate.wait(task.device)
        if training.progress.iteration % len(crops) or not math.isfinite(
            training.progress.loss_sum
        ):
            raise RunError("this suite's net did not train")
        turn(len(split.labels))
        return 0.0

    crops = task.crops(split, side, side, config.size.crop, config.recipe.batch)
    with tempfile.TemporaryDirectory() as folder:
        held, chance = Folder(Path(folder), lambda: None), Chance(90.0, 90.0)
        how: dict[str, Any] = {"prepare": task.prepare(), "validate": validate, "chance": chance}
        training = Training(task.net(), crops, config, held, Stop(), **how, say=lambda line: None)
        raise RunError(f"this suite's net did not train: {training.run().reason}")


def bare(task: Task, turn: Turn, mode: str = EAGER) -> None:
    """Take steps on one batch of noise that is already there."""
    config = replace(task.config, compile=mode)
    batch = min(config.recipe.batch, task.images)
    step, steps = rate.training_step(task.net(), config, task.device, batch), task.images // batch
    while True:
        for _ in range(steps):
            step()
        rate.wait(task.device)
        turn(steps * batch)


class Tensors(Dataset[tuple[Tensor, int]]):
    """Images as tensors with torchvision's v2 transforms, the faster of the references' ways."""

    def __init__(self, split: Split, smin: int, smax: int, crop: int) -> None:
        self.split, self.smin, self.smax = split, smin, smax
        mean, spread = [value / 255 for value in MEAN], [1 / 255] * 3
        cut = [v2.RandomCrop(crop), v2.RandomHorizontalFlip()]
        values = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, spread)]
        self.transform = v2.Compose([*cut, *values])

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One crop and its class."""
        images = self.split.images
        if isinstance(images, FileImages):
            image = decode_image(read_file(str(images.paths[index])), ImageReadMode.RGB)
        else:
            image = images[index]
        side = int(torch.randint(self.smin, self.smax + 1, ()))
        rescaled = v2.functional.resize(image, [side], antialias=True)
        return self.transform(rescaled), int(self.split.labels[index])


def references(task: Task, turn: Turn, mode: str = EAGER) -> None:
    """Train by a loop as in torchvision's references, channels last."""
    config, device, last, side = task.config, task.device, torch.channels_last, task.side(256)
    split = task.files("photos") if task.in_files else task.noise()
    batches = task.loader(split, side, side, config.size.crop, config.recipe.batch)
    net = task.net().to(memory_format=last).train()
    forward = net if mode == EAGER else torch.compile(net, mode=mode)
    optimiser = OPTIMISERS[config.recipe.optimiser](net.parameters(), config.recipe)
    half = config.precision == "bf16"
    while True:
        total = torch.zeros((), device=device)
        for images, labels in batches:
            images = images.to(device, non_blocking=True, memory_format=last)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = nn.functional.cross_entropy(forward(images), labels.to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += loss.detach()
        if not math.isfinite(total.item()):
            raise RunError("the references' net did not train")
        turn(len(split.labels))


def suite_crops(task: Task, turn: Turn, smin: int, smax: int) -> None:
    """Make training crops of 224 pixels from JPEG files by `repro.data.loader`."""
    crops, epoch = task.crops(task.files("photos"), smin, smax, CROP, BATCH), 0
    while True:
        turn(sum(len(images.float()) for images, *_ in crops.epoch(epoch)))
        epoch += 1


def v2_crops(task: Task, turn: Turn, smin: int, smax: int) -> None:
    """Make them by torchvision's v2 transforms of tensors."""
    batches = task.loader(task.files("photos"), smin, smax, CROP, BATCH)
    while True:
        turn(sum(len(images) for images, _ in batches))


def dense(task: Task, turn: Turn, q: int) -> None:
    """Evaluate densely by `repro.run.views`."""
    net, split, view = task.net().eval(), task.files("shapes"), View("dense", q, False)
    options = EvaluationOptions(batch=task.config.test_batch)
    while True:
        compute(net, view, split, task.prepare(), options)
        turn(len(split.labels))


def one_by_one(task: Task, turn: Turn, q: int) -> None:
    """Evaluate densely as one would with torch alone: FC layers as convolutions, image by image."""
    net, split, prepare = task.net(), task.files("shapes"), task.prepare()
    layers, side = [net.features], net.spec.linears[0].side
    for part in net.classifier:
        if isinstance(part, nn.Linear):
            weight = part.weight.detach().view(part.out_features, -1, side, side)
            conv = nn.Conv2d(weight.shape[1], part.out_features, side, device=task.device)
            conv.weight, conv.bias, side, part = nn.Parameter(weight), part.bias, 1, conv
        layers.append(part)
    fully = nn.Sequential(*layers).to(memory_format=memory_format(task.config, task.device)).eval()
    while True:
        with torch.inference_mode():
            for index in range(len(split.labels)):
                image = rescale(split.images[index], task.side(q))
                fully(prepare(image[None])).mean((2, 3)).softmax(1).cpu()
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


Contestants = dict[str, tuple[Any, ...]]
"""What each does, and by which arguments; the first is the one that others are set against."""


def contests(only: str, task: Task) -> Iterator[tuple[str, str, Contestants]]:
    """The name of each contest that is wanted, the unit of its rates, and who takes part."""
    config = task.config
    net = f"{config.arch.name}, size={config.size.name}, {config.precision}"
    wanted = only.split(",")
    if "training" in wanted:
        whose = {"this suite": suite, "torchvision's references": references, "bare step": bare}
        found: Contestants = {
            name + f", compile={mode}" * (mode != EAGER): (does, mode)
            for mode in dict.fromkeys((EAGER, config.compile))
            for name, does in whose.items()
        }
        yield f"training {net}", "images/s", found
    if "jpeg" in wanted:
        for smin, smax in ((256, 256), (256, 512)):
            ours, theirs = (suite_crops, smin, smax), (v2_crops, smin, smax)
            name = f"JPEG to crops, S in [{smin};{smax}], {config.workers} workers"
            yield name, "images/s", {"this suite": ours, "v2 on tensors": theirs}
    if "dense" in wanted:
        for q in (256, 384, 512):
            two: Contestants = {"this suite": (dense, q), "one image at a time": (one_by_one, q)}
            yield f"dense evaluation, Q={q}, {net}", "images/s", two
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


def play(contest: str, name: str, own: dict[str, str], words: list[str]) -> None:
    """Be a contestant: work a round whenever a line comes, and say what was done."""
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    began = time.perf_counter()

    def turn(units: float) -> None:
        nonlocal began
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if task.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated()
            torch.cuda.empty_cache()
        print(json.dumps({"rate": units / seconds, "peak": peak}), file=answers, flush=True)
        if not sys.stdin.readline():
            sys.exit()
        began = time.perf_counter()

    task = Task(own, words)
    found = {title: contestants for title, _, contestants in contests(own["only"], task)}
    does, *arguments = found[contest][name]
    with torch_settings(task.config):
        does(task, turn, *arguments)


class Contestant:
    """A process that takes its turns."""

    def __init__(self, contest: str, name: str, own: dict[str, str], words: list[str]) -> None:
        self.title = f"{contest}: {name}"
        command = [sys.executable, __file__, "--play", contest, name, json.dumps(own), *words]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        # The first round is not counted: it sets up, compiles and fills caches.
        self.answer()

    def answer(self) -> dict[str, float]:
        """The rate of the round that it ends and its peak memory in bytes."""
        if line := self.process.stdout.readline():
            return json.loads(line)
        raise RunError(f"{self.title} ended with {self.process.wait()}")

    def round(self) -> dict[str, float]:
        """Let it work a round."""
        print(file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        """Let it end."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def hold(
    contest: str, names: list[str], own: dict[str, str], words: list[str]
) -> Iterator[dict[str, Any]]:
    """The rounds of a contest. Every other one goes backwards, so that a drift favours nobody."""
    with contextlib.ExitStack() as stack:
        there = {name: Contestant(contest, name, own, words) for name in names}
        for one in there.values():
            stack.callback(one.close)
        for number in range(int(own["rounds"])):
            for name in reversed(names) if number % 2 else names:
                found = there[name].round()
                print(f"{contest}: {name}: {found['rate']:.4g}", file=sys.stderr)
                yield {"contest": contest, "contestant": name, "round": number + 1, **found}


def summary(rates: pd.DataFrame) -> str:
    """Medians with their range; each ratio is the median of the rounds' own ratios."""
    lines = [
        "| contest | contestant | rate (range) | peak GB | first / this (range) |",
        "|---" * 5 + "|",
    ]

    def ranged(values: Any, digits: str) -> str:
        return f"{values.median():{digits}} ({values.min():{digits}} to {values.max():{digits}})"

    for contest, rows in rates.groupby("contest", sort=False):
        wide = rows.pivot(index="round", columns="contestant", values="rate")
        for name in sorted(wide, key=lambda one: one != rows["first"].iloc[0]):
            peak = rows[rows.contestant == name].peak.max() / 1e9
            ratio = ranged(wide[rows["first"].iloc[0]] / wide[name], ".2f")
            speed = f"{ranged(wide[name], '.4g')} {rows.unit.iloc[0]}"
            lines.append(f"| {contest} | {name} | {speed} | {peak:.2f} | {ratio} |")
    return "\n".join(lines)


def photographs(folder: Path, count: int, side: int) -> None:
    """Make up JPEG files in the shapes of photographs, with a smallest side of `side` pixels."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        longer = int(side * np.exp(abs(0.25 * random.standard_normal()) + 0.1))
        shape = (longer, side) if random.random() < 0.7 else (side, longer)
        coarse = Image.fromarray(random.integers(256, size=(16, 16, 3), dtype=np.uint8))
        grain = random.normal(0, 8, (*shape[::-1], 3))
        picture = np.clip(
            np.asarray(coarse.resize(shape, Image.Resampling.BICUBIC)) + grain, 0, 255
        )
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number:05d}.jpg", quality=90)


def bench(arguments: list[str]) -> int:
    """Hold the contests that are wanted and write the results; the exit status."""
    mine = [word for word in arguments if word.partition("=")[0] in OWN]
    own, words = read(mine, OWN), [word for word in arguments if word not in mine]
    for key, most in (("rounds", 1000), ("images", 10**6)):
        whole(key, own[key], most)
    if unknown := set(own["only"].split(",")) - set(CONTESTS):
        raise RequestError(f"only={','.join(unknown)}: expected some of {','.join(CONTESTS)}")
    given = Path(own["photos"] or os.devnull)
    if own["photos"] and not any(given.rglob("*.jp*g")):
        raise RequestError(f"photos={given} holds no JPEG files: expected a folder of photographs")
    task, out, rows = Task(own, words), Path(own["out"]), []
    where = f"{device_name(task.device)}, {cpu()}, {os.cpu_count()} cores, "
    where += f"{task.config.threads} threads, torch {torch.__version__}"
    where += f", {datetime.now(UTC):%Y-%m-%d}, {own['rounds']} rounds"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        own["photos"] = made
        photographs(Path(made) / "shapes", min(task.images, 200), task.side(512))
        if given.is_dir():
            (Path(made) / "photos").symlink_to(given.resolve())
        else:
            photographs(Path(made) / "photos", task.images, 375)
        for contest, unit, contestants in contests(own["only"], task):
            first, *_ = names = list(contestants)
            rows += [
                row | {"unit": unit, "first": first} for row in hold(contest, names, own, words)
            ]
            # After each, so that what breaks a later one takes nothing with it.
            pd.DataFrame(rows).to_csv(out / "rates.csv", index=False)
            (out / "summary.md").write_text(f"{where}.\n\n{summary(pd.DataFrame(rows))}\n")
    show((out / "summary.md").read_text())
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--play"]:
        play(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]), sys.argv[5:])
    else:
        sys.exit(way_in(__doc__, bench, "interrupted; contests that had ended are written"))
