"""A store made by hand: posteriors are known, so every number of a report can be known too."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repro.config.schema import Config
from repro.protocol.protocols import views as views_of
from repro.report import figure
from repro.report.claims import claims, judge
from repro.report.settings import Comparison
from repro.run.progress import Progress
from repro.run.resolving import resolve
from repro.store import views
from repro.store.folder import hold
from repro.store.runs import finished
from repro.store.views import Posteriors
from tests.conftest import composed

ENVIRONMENT: dict[str, Any] = {
    **{"python": "3.11.0", "torch": "2.0", "torchvision": "0.15", "numpy": "2.0"},
    **{"git_commit": "abc", "git_dirty": False, "machine": "Linux x86_64", "cpu": "a cpu"},
    **{"cores": 2, "threads": 2, "workers": 0, "device": "cpu"},
    "finished": "2026-01-01T00:00:00+00:00",
}
MakeRun = Callable[..., str]
TESTS = ("multi_crop_dense", "centre", "each_scale")
"""Their views are those of other protocols too."""
FLAT = (50.0, 20.0, *(6.0,) * 6)
"""Training errors by epoch of a net that is trained out, in percent."""
COUNTS = {"train": 9, "validation": 9, "test": 200, "classes": 10, "validation_is_test": False}
DIVERGED = {"outcome": "diverged", "validation_error": None, "images_per_second": None}
LARGE: dict[str, Any] = COUNTS | {"mean": [1.0], "smallest_side": 375}
"""Photographs with the detail that digits of 28 pixels lack."""


def posteriors(
    wrong: int, images: int, classes: int = 10, seconds: float | None = None
) -> Posteriors:
    """Sure of the right class, but for the first `wrong` images, whose class is second best."""
    labels = np.arange(images) % classes
    values = np.full((images, classes), 0.45 / (classes - 1), dtype=np.float32)
    values[np.arange(images), labels] = 0.55
    rows = np.arange(wrong)
    # A little less sure than of a right one: of as many views of each kind the mean is right.
    values[rows] = 0.39 / (classes - 2)
    values[rows, labels[rows]] = 0.1
    values[rows, (labels[rows] + 1) % classes] = 0.51
    ids = np.array([f"{index:05d}" for index in range(images)])
    return Posteriors(values, labels.astype(np.int64), ids, seconds)


def result(config: Config, record: dict[str, Any], name: str, **changes: Any) -> dict[str, Any]:
    counts = {"train": 4000, "validation": 500, "test": 200, "classes": 10, "smallest_side": 28}
    row = {
        **{"schema": 1, "name": name, **record, "outcome": "trained", "reason": "", "epochs": 2},
        **{"iterations": 10, "validation_error": 5.0, "train_error": 6.0, "train_loss": 0.5},
        **{"seconds": 12.5, "images_per_second": 700.0, "parameters": 1},
        "data": counts | {"mean": [33.0], "validation_is_test": False},
        "environment": ENVIRONMENT,
    }
    return row | changes


def judged(tmp_path: Path, seeds: int = 1, partly: bool = False) -> pd.DataFrame:
    """The claims about the runs of `make_run`, by name, each by so many seeds; `partly`: of some
    of the nets that they need.
    """
    comparison = Comparison(finished(tmp_path / "runs"))
    needed = [replace(claim, seeds=seeds) for claim in claims()]
    if partly:
        parts = [tuple(replace(part, complete=False) for part in one.contrasts) for one in needed]
        needed = [replace(one, contrasts=own) for one, own in zip(needed, parts, strict=True)]
    return judge([comparison], needed)[0].set_index("claim")


@pytest.fixture(autouse=True)
def plain_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of a report's time; few tests look at them."""
    if "figures" not in request.module.__name__ and "golden" not in request.node.name:
        monkeypatch.setattr(figure, "png", lambda chart: b"PNG")


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Put a finished run into `tmp_path/runs`: `make_run("arch=D", wrong=10)`; its name."""

    def make(
        *overrides: str,
        wrong: int = 10,
        images: int = 200,
        wrong_of: dict[str, int] | None = None,
        seconds_of: dict[str, float] | None = None,
        train_errors: Sequence[float] = FLAT,
        **changes: Any,
    ) -> str:
        # By the names of views: other numbers of errors than `wrong`, and what they took.
        store = tmp_path / "runs"
        config = composed(*overrides)
        config.runs = str(store)
        request = resolve(config, command=(*overrides, f"runs={store}"))
        with hold(store, request.name, lambda _: None) as folder:
            request.folder.mkdir()
            folder.write_config(request.config, request.record)
            rows = [
                {"epoch": n, "train_error": error, "validation_error": 20.0 if n == 1 else 5.0}
                for n, error in enumerate(train_errors, 1)
            ]
            if rows:
                folder.write("log.csv", Progress(rows=rows).log())
            ended = result(request.config, request.record, request.name, **changes)
            ended["data"] = data = ended["data"] | {"test": images}
            if ended["outcome"] != "diverged":
                for view in {view for name in TESTS for view in views_of(name, request.config)}:
                    errors = (wrong_of or {}).get(view.name, wrong)
                    took = (seconds_of or {}).get(view.name)
                    made = posteriors(errors, images, data["classes"], seconds=took)
                    folder.write(f"views/{view.name}.npz", views.encode(made))
            folder.write_json("result.json", ended)
        return request.name

    return make
