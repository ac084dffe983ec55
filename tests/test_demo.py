"""What `make demo` prints, on nets that are trained for seconds."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "demo.py"


@pytest.mark.slow
def test_it_says_how_far_it_is_and_ends_with_three_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.spec_from_file_location("demo", SCRIPT)
    assert found is not None
    assert found.loader is not None
    demo = importlib.util.module_from_spec(found)
    found.loader.exec_module(demo)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(SCRIPT.parents[1]))
    demo.NAME, demo.EPOCHS = demo.NAME.replace("quick", "smoke"), 2
    demo.SWEEP += ["recipe=smoke", "test=[single_scale]"]
    assert demo.main() == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "0 of 5"
    assert all(f"{net} " in lines[-3] for net in "ABCDE")
    assert Path(lines[-1].removeprefix("the page: ")).is_file()
