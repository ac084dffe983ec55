"""The examples of docs/extending.md: each is put where it says, and each command is run."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from repro.config import choices
from repro.config.choices import CONF, PACKAGE
from repro.config.command import command
from repro.data import datasets
from repro.errors import RequestError
from repro.report.experiments import experiments
from repro.store.runs import finished
from tests.data.conftest import save

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`conf/(\w+/\w+\.yaml)`:\n\n```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^```\npython -m repro\.run (.*?)\n```", re.MULTILINE)
ENTRY = re.compile(
    r"^`(repro/[\w/.]+)`, at the end(?: of `(\w+)`)?:\n\n```\w*\n(.*?)^```",
    re.MULTILINE | re.DOTALL,
)
DATASET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
WAYS_IN = """
import runpy, sys
sweep = ["experiments=start", "test=[single_scale,centre_several]", "recipe=smoke", "size=tiny"]
for name, words in (
    ("run", ["--help"]),
    ("run", [*sweep, "data.holdout=0.02", "progress=false", "threads=1"]),
    ("plan", [*sweep, "runs=none", "tflops=1", "out=plan.csv"]),
    ("report", ["out=report"]),
):
    sys.argv = [name, *words]
    try:
        runpy.run_module(f"repro.{name}", run_name="__main__")
    except SystemExit as end:
        assert not end.code, name
"""
FAST = ["recipe.epochs=1", "recipe.train_images=64", "data.holdout=0.02", "test=[centre]"]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of one's own with all files of the page."""
    for name, content in FILE.findall(PAGE):
        file = tmp_path / "own" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    return tmp_path / "own"


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images that the page's data sets are of, and the entry that reads the second one."""
    for place in ("pets/train/cat/", "pets/train/dog/", "shapes/circle_", "shapes/square_"):
        for number in range(40):
            save(tmp_path / "data" / f"{place}{number}.png", 30, 40, seed=number)
    monkeypatch.chdir(tmp_path)
    known = dict(datasets.DATASETS)
    (entry,) = DATASET.findall(PAGE)
    exec(entry, dict(vars(datasets)))
    for name in datasets.DATASETS.keys() - known.keys():
        monkeypatch.setitem(datasets.DATASETS, name, datasets.DATASETS.pop(name))


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("words", COMMAND.findall(PAGE))
def test_its_commands_run(own: Path, tmp_path: Path, words: str) -> None:
    store = tmp_path / "runs"
    said = [*shlex.split(words), *FAST, f"runs={store}", "progress=false"]
    assert command(["--config-dir", str(own), *said]) == 0
    found = finished(store)
    assert len(found) == (2 if "experiments=" in words else 1)
    for run in found:
        for word in shlex.split(words):
            group, name = word.split("=")
            assert group == "experiments" or getattr(run.config, group).name.startswith(name)


def test_a_protocol_an_experiment_and_a_claim_are_an_entry_each(tmp_path: Path) -> None:
    """The suite with the three of the page in it: run, planned, reported."""
    root = tmp_path / "checkout"
    shutil.copytree(PACKAGE, root / "repro", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CONF, root / "conf", dirs_exist_ok=True)
    for name, content in FILE.findall(PAGE):
        (root / "conf" / name).write_text(content, encoding="utf-8")
    for name, collection, entry in ENTRY.findall(PAGE):
        text = (root / name).read_text(encoding="utf-8")
        if collection:
            start = text.index(f"\n{collection} = (")
            end = text.index("\n)", start) + 1
            text = text[:end] + entry + text[end:]
        else:
            text += entry
        (root / name).write_text(text, encoding="utf-8")
    # In one process: it imports torch once.
    program = [sys.executable, "-c", WAYS_IN]
    found = subprocess.run(program, cwd=root, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "centre_several" in found.stdout
    report = root / "report"
    results = pd.read_csv(report / "results.csv", dtype=str)
    found = results[(results.protocol == "centre_several") & (results.metric == "top1_error")]
    assert set(found.Q) == {"224,256,288"}
    assert set(found.init) == {"glorot", "torch"}
    every = pd.read_csv(report / "tables" / "protocols.csv")
    here = every[every.test == "centre several"]["mean"]
    assert sorted(here) == sorted(found.value.astype(float))
    assert len(pd.read_csv(root / "plan.csv")) == 2
    page = (report / "comparison.md").read_text()
    section = page.split("## Experiment: start")[1].split("\n## ")[0]
    assert "Does A learn as well from torch's own weights as from Glorot's? (ours)." in section
    assert "figures/experiment-start.png" in section
    table = pd.read_csv(report / "tables" / "experiment-start.csv", dtype=str)
    assert set(table.net) == {"A, init glorot", "A, init torch"}
    assert set(table.test) == {"single scale"}
    claims = pd.read_csv(report / "claims.csv").set_index("claim")
    assert claims.experiment["torch-is-no-better"] == "start"
    assert "Torch's own weights give A no lower error than Glorot's. (ours)" in page


def test_what_an_experiment_cannot_ask_for_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = shutil.copytree(CONF, tmp_path / "conf")
    (conf / "experiments" / "start.yaml").write_text("# Why?\n# report: {figures: [nude]}\n")
    monkeypatch.setattr(choices, "CONF", conf)
    with pytest.raises(RequestError, match=r"conf/experiments/start.yaml.*nude"):
        experiments.__wrapped__()
