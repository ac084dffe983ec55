"""A sweep of five nets: the whole command against the sum of its bare steps, and in two halves."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import torch

from repro.benchmark.measure import Contest
from repro.benchmark.training import BATCH, bare, config, images
from repro.errors import RunError

NETS = ("A", "B", "C", "D", "E")
# Of about the same work.
HALVES = (("A", "B", "E"), ("C", "D"))


def contest(size: str, count: int, device: torch.device) -> Contest:
    """A to E on `count` digits each, tested on centre crops: commands as a user gives them."""
    images_a_sweep = len(NETS) * count
    split = images("mnist5k", count)
    steps = [
        bare(config(arch, size, "mnist5k"), split, device, torch.channels_last) for arch in NETS
    ]

    def sweep(parts: tuple[tuple[str, ...], ...], threads: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            programs = [
                subprocess.Popen(
                    command(part, size, count, threads, folder, device),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
                for part in parts
            ]
            for program in programs:
                _, errors = program.communicate()
                if program.returncode:
                    raise RunError(errors.decode(errors="replace").strip().splitlines()[-1])
        return images_a_sweep

    return Contest(
        f"sweep A to E, mnist5k, size {size}, {count} images each",
        "images/s",
        {
            "one process, two threads": lambda: sweep((NETS,), 2),
            "bare steps, channels last (the limit)": lambda: sum(step() for step in steps),
            "two processes, one thread each": lambda: sweep(HALVES, 1),
        },
    )


def command(
    nets: tuple[str, ...], size: str, count: int, threads: int, runs: str, device: torch.device
) -> list[str]:
    """The command line of a sweep over some nets."""
    words = [f"arch={','.join(nets)}", f"size={size}", f"runs={runs}", "test=[centre]"]
    words += [f"recipe.train_images={count}", f"recipe.batch={BATCH}", "recipe.epochs=1"]
    words += [f"threads={threads}", "progress=false", f"device={device}"]
    return [sys.executable, "-m", "repro.run", "-m", *words]
