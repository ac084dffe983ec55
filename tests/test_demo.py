"""What `make demo` prints, on nets that are trained for seconds."""

from pathlib import Path

import demo
import pytest


@pytest.mark.slow
def test_it_says_how_far_it_is_and_ends_with_three_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    changed = {"NAME": demo.NAME.replace("quick", "smoke"), "EPOCHS": 2}
    changed["SWEEP"] = [*demo.SWEEP, "recipe=smoke", "test=[single_scale]"]
    for name, value in changed.items():
        monkeypatch.setattr(demo, name, value)
    assert demo.main() == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "0 of 5"
    assert all(f"{net} " in lines[-3] for net in "ABCDE")
    assert Path(lines[-1].removeprefix("the page: ")).is_file()
