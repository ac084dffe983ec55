"""A sweep of five nets: the whole command against the sum of its bare steps, and in two halves."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import torch

from repro.benchmark.measure import Contest, check_ended
from repro.benchmark.training import bare, config, digits
from repro.config.choices import choice
from repro.config.schema import Recipe

NETS = ("A", "B", "C", "D", "E")
# Of about the same work.
HALVES = (("A", "B", "E"), ("C", "D"))


def contest(device: torch.device, epochs: int = 4) -> Contest:
    """A to E on the embedded digits by the default recipe, tested on centre crops.

    Commands as a user gives them, with all that a run does: start-up, validation after each epoch,
    checkpoints, testing. The limit is nothing but the training steps.

    Args:
        device: where.
        epochs: instead of the recipe's; what a run does once weighs the more the fewer there are.
    """
    split = digits(None)
    work = len(NETS) * epochs * len(split.images)
    settings = [config(arch, "eighth", "mnist5k") for arch in NETS]
    for one in settings:
        one.recipe.batch = Recipe(**choice("recipe", "quick")).batch
    steps = [bare(one, split, device, torch.channels_last) for one in settings]

    def sweep(parts: tuple[tuple[str, ...], ...], threads: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            commands = [command(part, epochs, threads, folder, device) for part in parts]
            programs = [
                subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                for words in commands
            ]
            for words, program in zip(commands, programs, strict=True):
                _, errors = program.communicate()
                check_ended(words, program.returncode, errors)
        return work

    return Contest(
        f"sweep A to E, mnist5k, size eighth, {epochs} epochs",
        "images/s",
        {
            "one process, two threads": lambda: sweep((NETS,), 2),
            "bare steps, channels last (the limit)": lambda: sum(
                step() for step in steps for _ in range(epochs)
            ),
            "two processes, one thread each": lambda: sweep(HALVES, 1),
        },
        long=True,
    )


def command(
    nets: tuple[str, ...], epochs: int, threads: int, runs: str, device: torch.device
) -> list[str]:
    """The command line of a sweep over some nets."""
    words = [f"arch={','.join(nets)}", f"runs={runs}", "test=[centre]", f"threads={threads}"]
    words += [f"recipe.epochs={epochs}", "progress=false", f"device={device}"]
    return [sys.executable, "-m", "repro.run", "-m", *words]
