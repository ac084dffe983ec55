"""The committed primary claims again, from the committed ranks, by other code than the report's.

By docs/statistics.md. Nothing of `repro` is imported. A rank above 0 is a top-1 error.
"""

from __future__ import annotations

import csv
import json
import math
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from scipy.stats import norm, t

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
    if claim.get("primary") and claim["claim"] in ROWS and not ROWS[claim["claim"]]["reason"]
}
Errors = NDArray[np.bool_]


def of_kind(*kinds: str) -> list[str]:
    return [name for name, claim in CLAIMS.items() if claim["kind"] in kinds]


FILES = (REPORT / "runs" / "ranks").glob("*.npz")
RANKS = {path.stem: dict(np.load(path)) for path in FILES if not path.stem.startswith("images")}


def named() -> dict[tuple[str, str, str], dict[str, str]]:
    """(arch, scale, init) -> seed -> run; an ensemble joins its members by `+`."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    with (REPORT / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if "fc" not in row["finetune"]]
    # Names with more words are other settings: another width, another length.
    for row in (row for row in rows if (row["size"], row["recipe"]) == ("eighth", "photos")):
        runs = found.setdefault((row["arch"], row["scale"], row["init"]), {})
        assert runs.setdefault(row["seed"], row["run"]) == row["run"]
    return found


RUNS = named()


def runs(net: str, init: str) -> dict[str, str]:
    """Seed -> run of a net or an ensemble, as claims name it: `C-jitter`, `E-S256-normal`.

    Where the name says no initialisation it is `init`; A and B-5x5 have nothing to take from A.
    """
    plain, _, said = net.partition("-S256-")
    plain = f"{plain}-S256" if said else plain
    members = [member.rpartition("-") for member in plain.split("+")]
    archs, scales = ("+".join(member[part] for member in members) for part in (0, 2))
    own = "he" if archs in ("A", "B-5x5") else init
    return RUNS.get((archs, scales, said or own), {})


def errors(net: str, init: str, protocol: str) -> dict[str, Errors]:
    """Seed -> each image's error, for the runs that were tested by the protocol."""
    tested = ((seed, RANKS[run]) for seed, run in runs(net, init).items())
    return {
        seed: values > 0
        for seed, ranks in tested
        for name, values in ranks.items()
        if name.startswith(f"{protocol}@")
    }


def compare(claim: dict[str, Any]) -> tuple[int, dict[str, NDArray[np.float64]]]:
    """Seeds, and [value, low, high] in percent for these nets and for the configuration."""
    tests = claim["tests"] if isinstance(claim["tests"], list) else [claim["tests"]] * 2
    pairs = [[pair, pair] if isinstance(pair, str) else pair for pair in claim["pairs"]]
    init = "he" if "B-5x5-S256" in chain(*pairs) else "from_A"
    sides = [[errors(pair[i], init, tests[i]) for i in (0, 1)] for pair in pairs]
    there = [pair for pair in sides if all(pair)]
    assert there == sides or not claim.get("complete")
    seeds = sorted(set.intersection(*(set(side) for side in chain(*there))))
    gaps = np.array([np.mean([1.0 * a[s] - b[s] for a, b in there], axis=0) for s in seeds])
    right = np.mean([b[s] for _, b in there for s in seeds])
    (count, images), value = gaps.shape, gaps.mean()
    nets = np.append(gaps.mean(0), [1, -1]).var() / (images + 2)
    # What neither a seed nor an image explains: in the table of both, its mean square.
    rest = gaps - gaps.mean(0) - gaps.mean(1, keepdims=True) + value
    both = (rest**2).sum() / ((count - 1) * (images - 1)) / (count * images)
    joined = (t.ppf(0.975, count - 1) * gaps.mean(1).std(ddof=1)) ** 2 / count
    joined += Z**2 * max(nets - both, 2 / (images + 2) ** 2)
    centre = value * images / (images + 2)
    halves = {"nets": Z**2 * nets, "configuration": joined}
    return count, {
        about: 100 / right * np.array([value, centre - math.sqrt(half), centre + math.sqrt(half)])
        for about, half in halves.items()
    }


@pytest.mark.parametrize("name", of_kind("better", "no_improvement", "equal_within"))
def test_errors(name: str) -> None:
    claim, row = CLAIMS[name], ROWS[name]
    parts = [compare(claim | part) for part in claim.get("each", [{}])]
    # Of comparisons that must all hold, the least favourable one.
    count, ours = max(parts, key=lambda part: part[1]["nets"][0])
    assert count == int(row["n_seeds"])
    committed = [float(row[key]) for key in ("relative", "relative_low", "relative_high")]
    np.testing.assert_allclose(ours[row["about"]], committed, atol=2e-4)
    share = float(row["difference"]) / float(row["relative"])
    for about, (_, *ends) in ours.items():
        committed = [float(row[f"{about}_{end}"]) for end in ("low", "high")]
        np.testing.assert_allclose(np.array(ends) * share, committed, rtol=1e-3, atol=5e-4)


def wilson(count: int, of: int) -> tuple[float, float]:
    half = Z * math.sqrt(count * (of - count) / of + Z * Z / 4)
    middle = count + Z * Z / 2
    return (middle - half) / (of + Z * Z), (middle + half) / (of + Z * Z)


@pytest.mark.parametrize("name", of_kind("counts"))
def test_counts(name: str) -> None:
    """Each net's runs once, by their validation errors; Newcombe's interval, of two by Wilson."""
    results = [json.loads(file.read_text()) for file in (REPORT / "runs").glob("*/result.json")]
    ended = {result["identity"]: result["validation_error"] for result in results}
    shares = []
    for nets in zip(*CLAIMS[name]["pairs"], strict=True):
        of_side = [
            ended[run] < 100 * LEARNS
            for net in sorted(set(nets))
            for run in runs(net, "from_A").values()
        ]
        shares.append((sum(of_side), len(of_side)))
    (a, m), (b, n) = shares
    (low, high), (other_low, other_high), p, q = wilson(a, m), wilson(b, n), a / m, b / n
    ours = (
        p - q,
        p - q - math.hypot(p - low, other_high - q),
        p - q + math.hypot(high - p, q - other_low),
    )
    committed = [float(ROWS[name][key]) for key in ("difference", "ci_low", "ci_high")]
    np.testing.assert_allclose(np.array(ours) * 100, committed, atol=1e-4)


@pytest.mark.parametrize("name", of_kind("cheaper"))
def test_cost(name: str) -> None:
    """Dense over multi-crop, view by view; their logarithms averaged in a run; over runs."""
    timed = [RANKS[run] for net in CLAIMS[name]["pairs"] for run in runs(net, "from_A").values()]
    ratios = [
        [np.log(run[view.replace("grid", "dense")] / run[view]) for view in run if "s:grid" in view]
        for run in timed
    ]
    logs = [float(np.mean(of_run)) for of_run in ratios if of_run]
    half = t.ppf(0.975, len(logs) - 1) * np.std(logs, ddof=1) / math.sqrt(len(logs))
    ours = 100 * np.expm1(np.mean(logs) + half * np.array([0, -1, 1]))
    committed = [float(ROWS[name][key]) for key in ("difference", "ci_low", "ci_high")]
    np.testing.assert_allclose(ours, committed, atol=1e-4)
