"""Every experiment of `conf/experiments/`, end to end at the smallest size into its section."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from repro.config.choices import CONF
from repro.config.command import command
from repro.protocol.protocols import EACH_Q
from repro.report.claims import claims
from repro.report.experiments import experiments
from repro.report.write import write

NAMES = sorted(file.stem for file in (CONF / "experiments").glob("*.yaml"))
# The blog's net is an eighth as wide as the paper's, whatever the size: a setting of its own.
SMALL = ["recipe=smoke", "size=tiny", "data=mnist5k", "data.holdout=0.02", "progress=false"]


@pytest.mark.parametrize("name", NAMES)
def test_each_composes_and_is_checked(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"experiments={name}", *SMALL, f"runs={tmp_path / 'runs'}", "dry_run=true"]
    assert command(words) == 0
    found = next((one for one in experiments() if one.name == name), None)
    said = capsys.readouterr().out
    assert all(f"{net.arch}-{net.scale}-" in said for net in (found.nets if found else ()))
    assert not (tmp_path / "runs").exists()
    page = (CONF.parent / "experiments" / f"{name}.md").read_text()
    assert f"python -m repro.run experiments={name}" in page, "a page for people"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All experiments in one store, which shares the nets that they have in common."""
    folder = tmp_path_factory.mktemp("experiments")
    for name in NAMES:
        assert command([f"experiments={name}", *SMALL, f"runs={folder / 'runs'}"]) == 0, name
    write([folder / "runs"], folder / "report")
    return folder / "report"


def section(report: Path, name: str) -> str:
    page = (report / "comparison.md").read_text()
    found = re.search(
        rf"^## Experiment: {name.replace('_', ' ')}\b.*?\n(.*?)^## ", page, re.M | re.S
    )
    assert found, f"no section {name}"
    return found[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", [e.name for e in experiments()])
def test_each_section_compares_its_nets(report: Path, name: str) -> None:
    text = section(report, name)
    experiment = next(e for e in experiments() if e.name == name)
    assert experiment.question in text
    assert ("](figures/" in text) == (name != "blog"), "a picture, of more than one number"
    assert "not run" not in text
    (file,) = (report / "tables").glob(f"*experiment-{name}.csv")
    table = pd.read_csv(file, dtype=str)
    each = len(EACH_Q["each"]) if experiment.curve else len(experiment.tests)
    # Under their members stand the four ensembles of Table 6.
    assert len(table) == len(experiment.nets) * each + (4 if name == "fusion" else 0)


@pytest.mark.slow
def test_a_report_with_everything_has_no_hole(report: Path) -> None:
    page = (report / "comparison.md").read_text()
    # "None of the paper's nets was run here" is a sentence; a lone None is a hole.
    assert not re.search(r"\b(nan|NaN|NaT|None(?! of))\b", page)
    assert "Nothing to show" not in page
    judged = pd.read_csv(report / "claims.csv")
    # AlexNet has no map left at this size.
    absent = {claim.claim for claim in claims()} - set(judged.claim)
    assert absent == {"deeper-than-alexnet"}
    assert judged.claim.is_unique
    # At this size dense windows hang over the image, and digits are smaller than S=384.
    assert set(judged[judged.family == "jitter"].verdict) == {"not testable here"}
