"""The Python door: `import repro` against the files of a run and of a report."""

from __future__ import annotations

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
from repro.config.command import command
from repro.config.schema import Data
from repro.data import sources
from repro.data.rescale import rescale
from repro.errors import RequestError
from tests.golden_store import GOLDEN, golden_runs

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("store")
    words = ["arch=A", "recipe=smoke", "recipe.train_images=64", "test=[centre]", f"runs={store}"]
    assert command([*words, "data.mirror=true", "progress=false", "threads=1"]) == 0
    (found,) = (path for path in store.iterdir() if path.name[0] != ".")
    return found


def test_a_loaded_net_gives_the_stored_view(folder: Path) -> None:
    run = repro.load(folder)
    assert isinstance(run.net, nn.Module)
    assert not run.net.training
    test = sources.load(Data(**choice("data", "mnist5k")), Path()).test
    assert list(run.ids) == list(test.ids)
    assert list(run.labels) == list(test.labels)
    # At an eighth crops are 28 pixels, cut from the digits rescaled to Q=256, which is 32.
    images = [rescale(test.images[index], 32)[:, 2:30, 2:30] for index in range(50)]
    with torch.inference_mode():
        found = run.net(run.prepare(torch.stack(images))).softmax(dim=1).numpy()
    assert run.posteriors("centre-Q256")[:50] == pytest.approx(found, abs=1e-5)
    assert run.views == ["centre-Q256", "centre-Q256-mirrored"]
    assert run.posteriors("centre-Q256-mirrored").shape == (len(test.ids), 10)


def test_configuration_log_and_result_are_the_files(folder: Path) -> None:
    run = repro.load(str(folder))
    assert run.config.arch.name == "A"
    assert len(run.log) == run.config.epochs
    assert run.result == json.loads((folder / "result.json").read_text())


def test_what_is_not_there_is_a_line(folder: Path) -> None:
    with pytest.raises(RequestError, match="centre-Q256"):
        repro.load(folder).posteriors("dense-Q256")
    with pytest.raises(RequestError, match="nowhere"):
        repro.load("nowhere")
    with pytest.raises(RequestError, match="arch=Z"):
        repro.layers("Z")


def test_results_are_those_of_the_report(tmp_path: Path) -> None:
    repro.results(golden_runs()).to_csv(tmp_path / "results.csv", index=False)
    made, golden = tmp_path / "results.csv", GOLDEN / "report" / "results.csv"
    pd.testing.assert_frame_equal(pd.read_csv(made), pd.read_csv(golden))


def test_layers_are_table_1() -> None:
    assert [repro.layers(arch).weight_layers for arch in "ABCDE"] == [11, 13, 16, 16, 19]
    small = repro.layers("D", size="eighth", channels=1, classes=10)
    assert (small.crop, small.linears[0].side, small.classes) == (28, 7, 10)


HEAVY = ("torch", "hydra", "pandas", "scipy")
MAIN = "import sys, runpy; sys.argv = ['x', '--help']; runpy.run_module('{}', run_name='__main__')"


@pytest.mark.parametrize(
    "program",
    ["import repro; repro.layers('D'); assert repro.__version__"]
    + [MAIN.format(name) for name in ("repro.run", "repro.plan")],
)
def test_layers_and_help_import_nothing_heavy(program: str) -> None:
    check = f"import sys; assert not set({HEAVY}) & set(sys.modules), sys.modules.keys()"
    words = f"try: exec({program!r})\nexcept SystemExit as end: assert not end.code\n{check}"
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


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
