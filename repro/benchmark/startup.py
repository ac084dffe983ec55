"""Start-up: how long until help, a configuration, a report or the first step is there."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from repro.benchmark.measure import Contest, check_ended
from repro.benchmark.training import config
from repro.protocol.protocols import PROTOCOLS, views
from repro.run.progress import Progress
from repro.run.request import resolve
from repro.store import views as stored
from repro.store.folder import hold
from repro.store.runs import LOG, RESULT
from repro.store.views import Posteriors

NETS = ("A", "A-LRN", "B", "C", "D")


def contest() -> Contest:
    """Programs from their start to their end; the rate is starts a second."""
    made = tempfile.TemporaryDirectory()
    fifty_runs(Path(made.name) / "runs")

    def report() -> float:
        with tempfile.TemporaryDirectory() as folder:
            run("report", f"runs={made.name}/runs", f"out={folder}/report")
        return 1

    def first_step() -> float:
        with tempfile.TemporaryDirectory() as folder:
            small = ["recipe=smoke", "recipe.train_images=16", "size=tiny", "test=[centre]"]
            run("run", *small, f"runs={folder}", "progress=false")
        return 1

    contestants: dict[str, Callable[[], float]] = {
        "repro.run --help": lambda: run("run", "--help"),
        "repro.run --cfg job": lambda: run("run", "--cfg", "job"),
        "a run of two batches, tested": first_step,
        "repro.report over 50 runs": report,
        "import torch, for comparison": lambda: program("-c", "import torch"),
    }
    return Contest("start-up", "starts/s", contestants)


def run(module: str, *words: str) -> float:
    """One start of a way in."""
    return program("-m", f"repro.{module}", *words)


def program(*words: str) -> float:
    """One start of Python.

    Raises:
        RunError: it failed.
    """
    done = subprocess.run([sys.executable, *words], check=False, capture_output=True)
    check_ended(words, done.returncode, done.stderr)
    return 1


def fifty_runs(folder: Path) -> None:
    """A store of five nets, ten seeds each, with made-up posteriors: for timing only."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for net in NETS:
        for seed in range(10):
            settings = config(net, "eighth", "mnist5k")
            settings.seed, settings.runs = seed, str(folder)
            request = resolve(settings)
            with hold(folder, request.name, lambda line: None) as held:
                request.folder.mkdir()
                held.write_config(request.config, request.record)
                row = {"epoch": 1.0, "train_error": 9.0, "validation_error": 9.0}
                held.write(LOG, Progress(rows=[row]).log())
                wanted = {v for p in PROTOCOLS for v in views(p, settings.scale, mirror=False)}
                for view in wanted:
                    values = random.dirichlet(np.ones(10), 500).astype(np.float32)
                    ids = np.array([f"{index:04d}" for index in range(500)])
                    made = Posteriors(values, np.arange(500) % 10, ids)
                    held.write(f"views/{view.name}.npz", stored.encode(made))
                held.write_json(RESULT, _result(request.name, request.identity))


def _result(name: str, identity: str) -> dict[str, object]:
    counts = {"train": 4000, "validation": 500, "test": 500, "classes": 10}
    return {
        "name": name,
        "identity": identity,
        "outcome": "trained",
        "reason": "",
        "epochs": 1,
        "validation_error": 9.0,
        "seconds": 1.0,
        "images_per_second": 1.0,
        "data": {**counts, "mean": [33.0], "validation_is_test": False},
        "environment": {"git_commit": None, "git_dirty": None},
    }
