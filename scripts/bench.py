"""Measure this machine, this suite and its peers on the same work, in one run.

    python scripts/bench.py out=reports/benchmark                some ten minutes on two cores
    python scripts/bench.py only=training,dense rounds=9
    python scripts/bench.py only=training,dense size=paper recipe.batch=4 images=20
    python scripts/bench.py device=cuda                          full size, bf16, tf32, float32
    python scripts/bench.py photos=FOLDER                        JPEG files instead of made-up ones

Its own words are only=, rounds=, images=, photos= and out=; all others are those of repro.run.

Contests:
  training   the suite's loop, also with a checkpoint each second, against a loop as in
             torchvision's references (at size=paper with timm's net too, where it is installed),
             the bare step (the limit) and products of large matrices (the machine's peak): from
             images in memory, at size=paper from JPEG files; compiled where compile= says how; on
             a GPU also with fast=true, as it is and compiled, and briefly in tf32 and float32
  memory     jittered crops of images in memory on the CPU, against whole batches on the device
  jpeg       photographs to training crops, against torchvision's v2 transforms of tensors
  dense      dense evaluation of images of many shapes, in memory and rescaled, against one at a
             time; also of eight at full size
  startup    until help, a dry run of a hundred jobs, a report or a first run is there

Peers have their best settings: channels last, tensors, workers that persist, pinned memory on a
GPU. Each contestant is a process of its own, set up and compiled once, and they take turns. A first
round is not counted, nor are in each round the batches that workers made ahead of it. One whose net
does not train ends the program. Written are rates.csv (every round) and summary.md (medians, their
range, peak memory), in reports/bench-latest unless out= says where. Rates hold for a machine;
ratios carry further.
Exit status: 0 written; 2 the request was wrong; 75 interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from repro.config.way_in import read, show, way_in, whole
from repro.errors import RequestError, RunError
from repro.store.files import unwritable
from repro.store.runs import check_outside

CONTESTS = ("training", "memory", "jpeg", "dense", "startup")
OWN = {"only": ",".join(CONTESTS), "rounds": "3", "images": "", "photos": ""}
OWN["out"] = "reports/bench-latest"
PAUSE = 1.0
"""Seconds between two turns."""


def play(contest: str, name: str, own: dict[str, str], words: list[str]) -> None:
    """Be a contestant: work a round whenever a line comes, and say what was done."""
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    import torch
    from contestants import contests, settings
    from work import Task, Turn

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def report(units: float, seconds: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if task.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(task.device)
            torch.cuda.empty_cache()
        print(json.dumps({"rate": units / seconds, "peak": peak}), file=answers, flush=True)
        if not sys.stdin.readline():
            sys.exit()
        if task.device.type == "cuda":
            # Trying out algorithms, in the round that is not counted, takes what no other needs.
            torch.cuda.reset_peak_memory_stats(task.device)

    task = Task(own, words)
    found = {title: contestants for title, _, contestants in contests(own["only"], task)}
    does, *arguments = found[contest][name]
    with settings(does, task.config):
        does(task, Turn(report), *arguments)


class Contestant:
    """A process that takes its turns."""

    def __init__(self, contest: str, name: str, own: dict[str, str], words: list[str]) -> None:
        self.title = f"{contest}: {name}"
        command = [sys.executable, __file__, "--play", contest, name, json.dumps(own), *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, **pipes, text=True)
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
        there = {}
        for name in names:
            there[name] = Contestant(contest, name, own, words)
            stack.callback(there[name].close)
        for number in range(int(own["rounds"])):
            for name in reversed(names) if number % 2 else names:
                # Until the workers of the one before, who work ahead, have nothing more to do.
                time.sleep(PAUSE)
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


def bench(arguments: list[str]) -> int:
    """Hold the contests that are wanted and write the results; the exit status."""
    mine = [word for word in arguments if word.partition("=")[0] in OWN]
    own, words = read(mine, OWN), [word for word in arguments if word not in mine]
    for key, most in (("rounds", 1000), ("images", 10**6)):
        whole(key, own[key] or "1", most)
    if unknown := set(own["only"].split(",")) - set(CONTESTS):
        raise RequestError(f"only={','.join(unknown)}: expected some of {','.join(CONTESTS)}")
    given = Path(own["photos"] or os.devnull)
    if own["photos"] and not any(given.rglob("*.jp*g")):
        raise RequestError(f"photos={given} holds no JPEG files: expected a folder of photographs")
    # What is above is refused before torch is imported.
    from contestants import contests, variants, versions
    from work import FEW, Task, photographs

    out, rows = Path(own["out"]), []
    where = f"{versions(Task(own, words))}, {datetime.now(UTC):%Y-%m-%d}, {own['rounds']} rounds"
    check_outside(out)
    with contextlib.suppress(OSError):
        out.mkdir(parents=True, exist_ok=True)
    if not out.is_dir() or unwritable(out):
        raise RequestError(f"out={out} is no folder that can be written to: name another")
    with tempfile.TemporaryDirectory() as made:
        own["photos"] = made
        if given.is_dir():
            (Path(made) / "photos").symlink_to(given.resolve())
        else:
            photographs(Path(made) / "photos", min(int(own["images"] or FEW), FEW), 375)
        for one, more in variants(own, words):
            task = Task(one, more)
            shapes = Path(made) / task.shapes
            if "dense" in one["only"] and not shapes.exists():
                photographs(shapes, min(task.images, 200), task.side(512))
            for contest, unit, contestants in contests(one["only"], task):
                first, *_ = names = list(contestants)
                for row in hold(contest, names, one, more):
                    rows.append(row | {"unit": unit, "first": first})
                    # After each, so that what breaks a later one takes nothing with it.
                    rates = pd.DataFrame(rows)
                    rates.to_csv(out / "rates.csv", index=False)
                    (out / "summary.md").write_text(f"{where}.\n\n{summary(rates)}\n")
    show((out / "summary.md").read_text())
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--play"]:
        play(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]), sys.argv[5:])
    else:
        sys.exit(way_in(__doc__, bench, "interrupted; rounds that had ended are written"))
