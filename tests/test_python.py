"""The Python door: `import repro` against the files of a run and of a report."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

import repro
from repro.config.choices import choice
from repro.config.schema import Data
from repro.data import sources
from repro.data.rescale import rescale
from repro.errors import RequestError
from tests.conftest import folders
from tests.golden_store import GOLDEN, golden_runs

ROOT = Path(__file__).parents[1]


def test_a_run_is_its_files_and_its_net_gives_the_stored_view(trained: Path) -> None:
    folder = folders(trained)["A-S256"]
    run = repro.load(str(folder))
    assert isinstance(run.net, nn.Module)
    assert not run.net.training
    test = sources.load(Data(**choice("data", "mnist5k"), first_classes=3), Path()).test
    assert list(run.ids) == list(test.ids)
    assert list(run.labels) == list(test.labels)
    # Crops are 32 pixels here, cut from the digits rescaled to Q=256, which is 37.
    images = [rescale(test.images[index], 37)[:, 2:34, 2:34] for index in range(50)]
    with torch.inference_mode():
        found = run.net(run.prepare(torch.stack(images))).softmax(dim=1).numpy()
    assert run.posteriors("centre-Q256")[:50] == pytest.approx(found, abs=1e-5)
    assert run.views == ["centre-Q256", "dense-Q256"]
    assert run.config.arch.name == "A"
    assert len(run.log) == run.config.epochs
    assert run.result == json.loads((folder / "result.json").read_text())
    with pytest.raises(RequestError, match="centre-Q256"):
        run.posteriors("dense-Q224")
    with pytest.raises(RequestError, match="nowhere"):
        repro.load("nowhere")


def test_results_are_those_of_the_report(tmp_path: Path) -> None:
    repro.results(golden_runs()).to_csv(tmp_path / "results.csv", index=False)
    made, golden = tmp_path / "results.csv", GOLDEN / "report" / "results.csv"
    pd.testing.assert_frame_equal(pd.read_csv(made), pd.read_csv(golden))


def test_layers_are_table_1() -> None:
    assert [repro.layers(arch).weight_layers for arch in "ABCDE"] == [11, 13, 16, 16, 19]
    small = repro.layers("D", size="eighth", channels=1, classes=10)
    assert (small.crop, small.linears[0].side, small.classes) == (28, 7, 10)
    with pytest.raises(RequestError, match="arch=Z"):
        repro.layers("Z")


def test_layers_and_help_import_nothing_heavy() -> None:
    program = """
import runpy, sys
import repro
repro.layers("D")
assert repro.__version__
sys.argv = ["x", "--help"]
for name in ("run", "report", "plan", "predict", "export", "verify"):
    try:
        runpy.run_module(f"repro.{name}", run_name="__main__", alter_sys=False)
    except SystemExit as end:
        assert not end.code
assert not {"torch", "hydra", "pandas", "scipy", "matplotlib"} & set(sys.modules)
"""
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    ways = ("run", "report", "plan", "predict", "export", "verify")
    assert all(f"python -m repro.{name} " in done.stdout for name in ways)


@pytest.mark.slow
def test_the_tour_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = json.loads((ROOT / "notebooks" / "tour.ipynb").read_text())["cells"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "agg")
    scope: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), scope)
    assert (tmp_path / "runs").is_dir()
