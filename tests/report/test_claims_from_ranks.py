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
REPORT = ROOT / "reports" / "tiny_imagenet"
Z = norm.ppf(0.975)
LEARNS = 0.98 - 3 * math.sqrt(0.98 * 0.02 / 1250)
"""Three standard deviations below chance, of 50 classes on 1,250 validation images."""

with (REPORT / "claims.csv").open() as file:
    ROWS = {row["claim"]: row for row in csv.DictReader(file) if row["size"] == "eighth"}
CLAIMS: dict[str, dict[str, Any]] = {
    claim["claim"]: claim
    for claim in yaml.safe_load((ROOT / "repro" / "paper" / "claims.yaml").read_text())
    if (claim.get("primary") or claim["kind"] == "cheaper") and claim["claim"] in ROWS
}
ERRORS = ("better", "no_improvement", "equal_within")
Seeds = dict[int, NDArray[np.bool_]]


def of_kind(*kinds: str) -> list[str]:
    return [name for name, claim in CLAIMS.items() if claim["kind"] in kinds]


@cache
def files() -> dict[str, bytes]:
    """What the report keeps of its runs, by name; of a run's folder, by its identity."""
    with zipfile.ZipFile(REPORT / "runs.zip") as kept:
        return {re.sub(r"^[^/]*-(\w{10})/", r"\1/", n): kept.read(n) for n in kept.namelist()}


@cache
def ranks(run: str) -> dict[str, Any]:
    return dict(np.load(io.BytesIO(files()[f"ranks/{run}.npz"])))


@cache
def runs_by_net() -> dict[tuple[str, str, str], dict[int, str]]:
    """(arch, scale, init) -> seed -> run; an ensemble joins its members by `+`."""
    found: dict[tuple[str, str, str], dict[int, str]] = {}
    with (REPORT / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if "fc" not in row["finetune"]]
    # Names with more words are other settings: another width, another length.
    for row in (row for row in rows if (row["size"], row["recipe"]) == ("eighth", "photos")):
        own = found.setdefault((row["arch"], row["scale"], row["init"]), {})
        assert own.setdefault(int(row["seed"]), row["run"]) == row["run"]
    return found


def runs(net: str, init: str) -> dict[int, str]:
    """Seed -> run of a net or an ensemble, as claims name it: `C-jitter`, `E-S256-normal`.

    Where the name says no initialisation it is `init`; A and B-5x5 have nothing to take from A.
    """
    plain, _, said = net.partition("-S256-")
    plain = f"{plain}-S256" if said else plain
    members = [member.rpartition("-") for member in plain.split("+")]
    archs, scales = ("+".join(member[part] for member in members) for part in (0, 2))
    own = "he" if archs in ("A", "B-5x5") else init
    return runs_by_net().get((archs, scales, said or own), {})


def sides(claim: dict[str, Any]) -> list[list[Seeds]]:
    """The errors of each measured pair by seed."""
    tests = claim["tests"] if isinstance(claim["tests"], list) else [claim["tests"]] * 2
    pairs = [[pair, pair] if isinstance(pair, str) else pair for pair in claim["pairs"]]
    init = "he" if "B-5x5-S256" in chain(*pairs) else "from_A"
    found: list[list[Seeds]] = []
    for pair in pairs:
        found.append([])
        for net, test in zip(pair, tests, strict=True):
            keys = {
                seed: [key for key in ranks(run) if key.startswith(f"{test}@")]
                for seed, run in runs(net, init).items()
            }
            found[-1].append(
                {s: ranks(runs(net, init)[s])[key[0]] > 0 for s, key in keys.items() if key}
            )
    there = [both for both in found if all(both)]
    assert len(there) == len(pairs) or not claim.get("complete")
    return there


def compare(claim: dict[str, Any], odds: bool) -> tuple[int, dict[str, NDArray[np.float64]]]:
    """Seeds, and [effect, low, high] for nets and configuration, by images and by classes."""
    there = sides(claim)
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
    listed = next(text for name, text in files().items() if name.startswith("ranks/images-"))
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


@pytest.mark.parametrize("name", of_kind(*ERRORS))
def test_errors(name: str) -> None:
    claim, row = CLAIMS[name], ROWS[name]
    parts = [claim | part for part in claim.get("each", [{}])]
    found = [(*compare(part, odds=True), compare(part, odds=False)[1]) for part in parts]
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


@pytest.mark.parametrize("name", of_kind("counts"))
def test_counts(name: str) -> None:
    """Each net's runs once, by their validation errors; Newcombe's interval, of two by Wilson."""
    ((left, right),) = CLAIMS[name]["pairs"]
    shares = []
    for net in (left, right):
        own = sorted(runs(net, "from_A").items())[: CLAIMS[name]["seeds"]]
        ended = [json.loads(files()[f"{run}/result.json"])["validation_error"] for _, run in own]
        shares.append((sum(error < 100 * LEARNS for error in ended), len(ended)))
    (a, m), (b, n) = shares
    ends = (binomtest(*one).proportion_ci(0.95, "wilson") for one in shares)
    (low, high), (other_low, other_high), p, q = *ends, a / m, b / n
    ours = (
        p - q,
        p - q - math.hypot(p - low, other_high - q),
        p - q + math.hypot(high - p, q - other_low),
    )
    committed = numbers(ROWS[name], "difference", "ci_low", "ci_high")
    np.testing.assert_allclose(np.array(ours) * 100, committed, atol=1e-4)


@pytest.mark.parametrize("name", of_kind("cheaper"))
def test_cost(name: str) -> None:
    """Dense over multi-crop, view by view; their logarithms averaged in a run; over runs."""
    timed = [ranks(run) for net in CLAIMS[name]["pairs"] for run in runs(net, "from_A").values()]
    logs = []
    for run in timed:
        grid = [view for view in run if "s:grid" in view]
        # Those of three test scales and two orientations.
        if len(grid) == 6:
            ratios = [run[view.replace("grid", "dense")] / run[view] for view in grid]
            logs.append(float(np.mean(np.log(ratios))))
    half = t.ppf(0.975, len(logs) - 1) * np.std(logs, ddof=1) / math.sqrt(len(logs))
    ours = 100 * np.expm1(np.mean(logs) + half * np.array([0, -1, 1]))
    committed = numbers(ROWS[name], "difference", "ci_low", "ci_high")
    np.testing.assert_allclose(ours, committed, atol=1e-4)
