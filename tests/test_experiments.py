"""Every experiment of `conf/experiments/`, end to end at the smallest size into its section."""

import re
from pathlib import Path

import pandas as pd
import pytest

from repro.config.choices import CONF
from repro.config.command import command
from repro.config.composing import Sweep
from repro.config.values import typed
from repro.protocol.protocols import EACH_Q, PROTOCOLS
from repro.report.claims import claims
from repro.report.experiments import experiments
from repro.report.write import write
from repro.run.resolving import resolve

# Localisation needs images with boxes: tests/run/test_boxes.py.
NAMES = sorted({file.stem for file in (CONF / "experiments").glob("*.yaml")} - {"boxes"})
# The blog's net is an eighth as wide as the paper's, whatever the size: a setting of its own.
SMALL = ["recipe=smoke", "size=tiny", "data=mnist5k", "data.holdout=0.02", "progress=false"]


@pytest.mark.parametrize("name", NAMES)
def test_each_composes_and_has_a_page(name: str) -> None:
    sweep = Sweep([f"experiments={name}", *SMALL])
    for words in (sweep.jobs[0], sweep.jobs[-1]):
        resolve(typed(sweep.job(words).config))
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


@pytest.mark.slow
@pytest.mark.parametrize("name", [e.name for e in experiments()])
def test_each_section_compares_its_nets(report: Path, name: str) -> None:
    page, title = (report / "comparison.md").read_text(), name.replace("_", " ")
    text = re.findall(rf"^## Experiment: {title}\b.*?\n(.*?)^## ", page, re.M | re.S)[0]
    experiment = next(e for e in experiments() if e.name == name)
    assert experiment.question in text
    assert ("](figures/" in text) == (name != "blog"), "a picture, of more than one number"
    assert "not run" not in text
    (file,) = (report / "tables").glob(f"*experiment-{name}.csv")
    table = pd.read_csv(file, dtype=str)
    scales = [PROTOCOLS[test].scales for test in experiment.tests]
    each = sum(len(EACH_Q.get(scale, (256,))) for scale in scales)
    # Under their members stand the four ensembles of Table 6.
    assert len(table) == len(experiment.nets) * each + (4 if name == "fusion" else 0)


@pytest.mark.slow
def test_a_report_with_everything_has_no_hole(report: Path) -> None:
    page = (report / "comparison.md").read_text()
    # "None of the paper's nets was run here" is a sentence; a lone None is a hole.
    assert not re.search(r"\b(nan|NaN|NaT|None(?! of))\b", page)
    assert "Nothing to show" not in page
    judged = pd.read_csv(report / "claims.csv")
    # AlexNet has no map left at this size, and digits have no boxes.
    absent = {claim.claim for claim in claims()} - set(judged.claim)
    assert absent == {"deeper-than-alexnet", "boxes-all-layers", "boxes-per-class"}
    assert judged.claim.is_unique
    # At this size dense windows hang over the image, and digits are smaller than S=384.
    assert set(judged[judged.family == "jitter"].verdict) == {"not testable here"}
