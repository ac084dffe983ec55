"""The committed primary claims again, from the committed ranks, by other code.

By docs/statistics.md. Nothing of `repro` is imported. A rank above 0 is a top-1 error.
"""

import csv
import io
import json
import math
import re
import zipfile
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, t

ROOT = Path(__file__).resolve().parents[2]
Z = norm.ppf(0.975)
LEARNS = {
    "cifar10": 0.9 - 3 * math.sqrt(0.9 * 0.1 / 5000),
    "tiny_imagenet": 0.98 - 3 * math.sqrt(0.98 * 0.02 / 1250),
}
"""Three standard deviations below chance, by classes and validation images."""
LAYERS = {"A": 11, "A-LRN": 11, "B": 13, "B-5x5": 8, "C": 16, "D": 16, "E": 19}
LAYERS |= {f"{name}-BN": count for name, count in LAYERS.items()}
ERRORS = ("better", "no_improvement", "equal_within")
Row = dict[str, str]
Seeds = dict[int, NDArray[np.bool_]]

ROWS: dict[tuple[str, str, str], Row] = {}
for report in ("cifar10", "tiny_imagenet"):
    with (ROOT / "reports" / report / "claims.csv").open() as file:
        rows = [row | {"report": report} for row in csv.DictReader(file)]
        ROWS |= {(report, row["size"], row["claim"]): row for row in rows}
CLAIMS: dict[str, dict[str, Any]] = {
    claim["claim"]: claim
    for claim in yaml.safe_load((ROOT / "repro" / "paper" / "claims.yaml").read_text())
}


def of_kind(*kinds: str, primary: bool = True) -> list[tuple[str, str, str]]:
    rows = [key for key in ROWS if CLAIMS[key[-1]]["kind"] in kinds]
    return [key for key in rows if CLAIMS[key[-1]].get("primary") or not primary]


@cache
def files(report: str) -> dict[str, bytes]:
    """What a report keeps of its runs, by name; of a run's folder, by its identity."""
    with zipfile.ZipFile(ROOT / "reports" / report / "runs.zip") as kept:
        return {re.sub(r"^[^/]*-(\w{10})/", r"\1/", n): kept.read(n) for n in kept.namelist()}


@cache
def ranks(report: str, run: str) -> dict[str, Any]:
    return dict(np.load(io.BytesIO(files(report)[f"ranks/{run}.npz"])))


@cache
def runs_by_net(report: str, size: str, recipe: str) -> dict[tuple[str, str, str], dict[int, str]]:
    """(arch, scale, init) -> seed -> run; an ensemble joins its members by `+`."""
    found: dict[tuple[str, str, str], dict[int, str]] = {}
    with (ROOT / "reports" / report / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if "fc" not in row["finetune"]]
    for row in (row for row in rows if (row["size"], row["recipe"]) == (size, recipe)):
        own = found.setdefault((row["arch"], row["scale"], row["init"]), {})
        assert own.setdefault(int(row["seed"]), row["run"]) == row["run"]
    return found


def runs(net: str, row: Row, init: str = "") -> dict[int, str]:
    """Seed -> run of a net or an ensemble, as claims name it: `C-jitter`, `E-S256-normal`.

    Where the name says no initialisation it is `init`; A and B-5x5 have nothing to take from A.
    """
    plain, _, said = net.partition("-S256-")
    plain = f"{plain}-S256" if said else plain
    members = [member.rpartition("-") for member in plain.split("+")]
    archs, scales = ("+".join(member[part] for member in members) for part in (0, 2))
    own = init or row["init"]
    own = "he" if archs in ("A", "B-5x5") and own == "from_A" else own
    every = runs_by_net(row["report"], row["size"], row["recipe"])
    return every.get((archs, scales, said or own), {})


def pairs_of(claim: dict[str, Any]) -> list[list[str]]:
    return [[pair, pair] if isinstance(pair, str) else pair for pair in claim["pairs"]]


def start(claim: dict[str, Any]) -> str:
    """A net that cannot start from A is compared with one that does not either."""
    nets = list(chain(*pairs_of(claim)))
    return "he" if any("5x5" in net or "-BN-" in net for net in nets) else ""


def sides(claim: dict[str, Any], row: Row) -> list[list[Seeds]]:
    """The errors of each measured pair by seed."""
    tests = claim["tests"] if isinstance(claim["tests"], list) else [claim["tests"]] * 2
    pairs, init, report = pairs_of(claim), start(claim), row["report"]
    found: list[list[Seeds]] = []
    for pair in pairs:
        found.append([])
        for net, test in zip(pair, tests, strict=True):
            own = runs(net, row, init)
            keys = {
                seed: [key for key in ranks(report, run) if key.startswith(f"{test}@")]
                for seed, run in own.items()
            }
            found[-1].append(
                {s: ranks(report, own[s])[key[0]] > 0 for s, key in keys.items() if key}
            )
    there = [both for both in found if all(both)]
    assert len(there) == len(pairs) or not claim.get("complete")
    return there


def compare(
    claim: dict[str, Any], row: Row, odds: bool
) -> tuple[int, dict[str, NDArray[np.float64]]]:
    """Seeds, and [effect, low, high] for nets and configuration, by images and by classes."""
    there = sides(claim, row)
    seeds = sorted(set.intersection(*(set(side) for side in chain(*there))))[: claim["seeds"]]
    wrong = np.array([[[side[s] for s in seeds] for side in both] for both in there], float)
    images, count = wrong.shape[-1], len(seeds)
    mean = (wrong.mean(axis=(2, 3)) * images + 1) / (images + 2)  # (pairs, sides)
    slope = 1 / mean / (1 - mean) if odds else np.full_like(mean, 100)
    value = np.log(mean / (1 - mean)) if odds else 100 * mean
    centre = float((value[:, 0] - value[:, 1]).mean())
    by_pair = np.einsum("pksi,pk->psi", wrong, slope * [1, -1])
    gaps = by_pair.mean(0)
    two = slope.mean(0) * [1, -1]
    nets = np.append(gaps.mean(0), two).var() / (images + 2)
    rest = gaps - gaps.mean(0) - gaps.mean(1, keepdims=True) + gaps.mean()
    noise = (rest**2).sum() / ((count - 1) * (images - 1)) / images
    pooled = by_pair.mean(2).var(axis=1, ddof=1).mean() / len(by_pair)
    between = max(gaps.mean(1).var(ddof=1), pooled, noise) / count
    alone = max(nets - noise / count, np.append(np.zeros(images), two).var() / (images + 2))
    kept = files(row["report"])
    listed = next(text for name, text in kept.items() if name.startswith("ranks/images-"))
    labels = np.array([line.rsplit(",", 1)[1] for line in listed.decode().splitlines()[1:]])
    own = gaps.mean(0) - gaps.mean()
    classes = [own[labels == one].sum() for one in np.unique(labels)]
    k = len(classes)
    by_class = t.ppf(0.975, k - 1) ** 2 * k / (k - 1) * np.square(classes).sum() / images**2
    seed = t.ppf(0.975, count - 1) ** 2 * between
    halves = {
        "nets": Z**2 * nets,
        "configuration": Z**2 * alone + seed,
        "nets by class": by_class,
        "configuration by class": by_class + seed,
    }
    return count, {
        about: np.array([centre, centre - math.sqrt(half), centre + math.sqrt(half)])
        for about, half in halves.items()
    }


def numbers(row: dict[str, str], *keys: str) -> list[float]:
    return [float(row[key]) for key in keys]


@pytest.mark.parametrize("key", of_kind(*ERRORS))
def test_errors(key: tuple[str, str, str]) -> None:
    claim, row = CLAIMS[key[-1]], ROWS[key]
    parts = [claim | part for part in claim.get("each", [{}])]
    found = [(*compare(part, row, odds=True), compare(part, row, odds=False)[1]) for part in parts]
    about = row["about"]
    # Of comparisons that must all hold, the least favourable one.
    count, odds, points = max(found, key=lambda one: one[1][about][0])
    assert count == int(row["n_seeds"])
    ours = [*odds[about], *odds[f"{about} by class"][1:]]
    columns = ["log_odds", "log_odds_low", "log_odds_high", "class_low", "class_high"]
    np.testing.assert_allclose(ours, numbers(row, *columns), atol=1e-4)
    for question in ("nets", "configuration"):
        committed = numbers(row, f"{question}_low", f"{question}_high")
        np.testing.assert_allclose(points[question][1:], committed, atol=1e-4)


def train_errors(net: str, row: Row, claim: dict[str, Any]) -> list[list[float]]:
    """The training errors of a net's runs by epoch."""
    own = sorted(runs(net, row, start(claim)).items())[: claim["seeds"]]
    logs = [files(row["report"])[f"{run}/log.csv"].decode().splitlines() for _, run in own]
    return [[float(one["train_error"]) for one in csv.DictReader(log)] for log in logs]


@pytest.mark.parametrize("key", of_kind(*ERRORS, primary=False))
def test_the_gate(key: tuple[str, str, str]) -> None:
    """The training error is flat in the last epoch, and the deeper net's is not the higher one."""
    claim, row, falling = CLAIMS[key[-1]], ROWS[key], False
    for part in [claim | part for part in claim.get("each", [{}])]:
        for pair in pairs_of(part):
            if not all(runs(net, row, start(part)) for net in pair):
                continue
            logs = {n: train_errors(n, row, part) for n in "+".join(pair).split("+")}
            falls = [np.mean([one[-2] - one[-1] for one in own]) for own in logs.values()]
            falling |= max(falls) > 1 or min(len(one) for own in logs.values() for one in own) < 4
            falling |= harder(pair, logs)
    gated = row["reason"].startswith("not trained out: the training error")
    gated |= row["reason"].endswith("too few to tell")
    assert falling if gated else row["verdict_holm"] == "not testable here" or not falling


def harder(pair: list[str], logs: dict[str, list[list[float]]]) -> bool:
    """The deeper of two nets ends at a higher training error, by two standard errors of both."""
    layers = {net: LAYERS[re.split("-(?:S256|S384|jitter)", net)[0]] for net in pair if net in logs}
    if len(set(layers.values())) < 2 or min(len(logs[net]) for net in pair) < 2:
        return False
    last = [np.array([one[-1] for one in logs[net]]) for net in sorted(pair, key=layers.get)]
    shallow, deep = last
    noise = math.sqrt(sum(one.var(ddof=1) / len(one) for one in last))
    return bool(deep.mean() - shallow.mean() > 2 * noise)


@pytest.mark.parametrize("key", of_kind("counts"))
def test_counts(key: tuple[str, str, str]) -> None:
    """Each net's runs once, by their validation errors; Newcombe's interval, of two by Wilson."""
    claim, row = CLAIMS[key[-1]], ROWS[key]
    ((left, right),) = claim["pairs"]
    shares = []
    for net in (left, right):
        own = sorted(runs(net, row).items())[: claim["seeds"]]
        results = [files(row["report"])[f"{run}/result.json"] for _, run in own]
        ended = [json.loads(one)["validation_error"] for one in results]
        shares.append((sum(error < 100 * LEARNS[row["report"]] for error in ended), len(ended)))
    (a, m), (b, n) = shares
    ends = (binomtest(*one).proportion_ci(0.95, "wilson") for one in shares)
    (low, high), (other_low, other_high), p, q = *ends, a / m, b / n
    ours = (
        p - q,
        p - q - math.hypot(p - low, other_high - q),
        p - q + math.hypot(high - p, q - other_low),
    )
    committed = numbers(row, "difference", "ci_low", "ci_high")
    np.testing.assert_allclose(np.array(ours) * 100, committed, atol=1e-4)


@pytest.mark.parametrize("key", of_kind("cheaper", primary=False))
def test_cost(key: tuple[str, str, str]) -> None:
    """Dense over multi-crop, view by view; their logarithms averaged in a run; over runs."""
    row = ROWS[key]
    found = [run for net in CLAIMS[key[-1]]["pairs"] for run in runs(net, row).values()]
    timed = [ranks(row["report"], run) for run in found]
    logs = []
    for run in timed:
        grid = [view for view in run if "s:grid" in view]
        # Those of three test scales and two orientations.
        if len(grid) == 6:
            ratios = [run[view.replace("grid", "dense")] / run[view] for view in grid]
            logs.append(float(np.mean(np.log(ratios))))
    half = t.ppf(0.975, len(logs) - 1) * np.std(logs, ddof=1) / math.sqrt(len(logs))
    ours = 100 * np.expm1(np.mean(logs) + half * np.array([0, -1, 1]))
    committed = numbers(row, "difference", "ci_low", "ci_high")
    np.testing.assert_allclose(ours, committed, atol=1e-4)
