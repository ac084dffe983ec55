"""What a run's net says of image files, and of its own test images against its stored views."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import repro.export
import repro.predict
import repro.verify
from tests.conftest import without_digests
from tests.release.conftest import KINDS, Command, photograph, stored

VIEWS = {
    "single_scale": ["dense-Q256", "dense-Q256-mirrored"],
    "multi_crop": [f"grid-Q{q}{m}" for q in (224, 256, 288) for m in ("", "-mirrored")],
}
ROW = re.compile(r"^ +\d +([\d.]+)%  (.*)$", re.MULTILINE)


@pytest.mark.parametrize("protocol", VIEWS)
def test_an_image_of_the_test_set_has_its_stored_posteriors(
    protocol: str, trained: Path, photographs: Path, way_in: Command
) -> None:
    mean, ids, _ = stored(trained, *VIEWS[protocol])
    # Not in their order, one twice, and other shapes beside them than in the test set.
    chosen = [11, 2, 7, 2]
    images = [str(photographs / ids[place]) for place in chosen]
    words = [f"run={trained}", f"test={protocol}", "top=2", *images]
    status, shown, error = way_in(repro.predict, *words)
    assert (status, error) == (0, "")
    best = [(place, label) for place in chosen for label in np.argsort(-mean[place])[:2]]
    found = ROW.findall(shown)
    assert [name for _, name in found] == [KINDS[label] for _, label in best]
    shares = [100 * mean[place, label] for place, label in best]
    assert [float(share) for share, _ in found] == pytest.approx(shares, abs=0.0051)
    assert len(set(shares)) > 4, "the images must differ to the net"
    assert all(image in shown for image in images)


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """The run, to be tampered with, and of its many crops those of one view."""
    folder = Path(shutil.copytree(trained, tmp_path / "elsewhere" / trained.name))
    for file in (folder / "views").glob("grid-*"):
        if file.stem != "grid-Q256":
            file.unlink()
    return folder


def test_classes_are_named_by_the_record_else_the_folder_else_numbers(
    copy: Path, photographs: Path, tmp_path: Path, way_in: Command
) -> None:
    for names, root, expected in (
        (["x\x1b[2J", "y", 3], tmp_path, {"x [2J", "y", "3"}),
        (["too", "few"], tmp_path, {"0", "1", "2"}),
        (None, tmp_path, {"0", "1", "2"}),
        (None, photographs, set(KINDS)),
    ):
        without_digests(copy, class_names=names)
        words = [f"run={copy}", f"data.root={root}", str(photographs / f"test/{KINDS[2]}/8.png")]
        assert {name for _, name in ROW.findall(way_in(repro.predict, *words)[1])} == expected


def verdicts(shown: str) -> dict[str, bool]:
    """Whether each view is within, by name."""
    rows = [line.split() for line in shown.splitlines()[1:-1]]
    return {row[0]: row[4] == "yes" for row in rows}


def test_what_was_computed_here_is_as_stored_and_a_damaged_view_is_not(
    copy: Path, way_in: Command
) -> None:
    status, shown, error = way_in(repro.verify, f"run={copy}")
    assert (status, error) == (0, "")
    assert list(verdicts(shown).values()) == [True] * 7
    assert shown.splitlines()[1].split()[1] == "18", "200 are asked for and 18 there are"
    (copy / "views" / "grid-Q256.npz").write_bytes(b"PK")
    status, shown, _ = way_in(repro.verify, f"run={copy}", "images=3")
    assert status == 1
    assert [view for view, within in verdicts(shown).items() if not within] == ["grid-Q256"]


@pytest.mark.parametrize("known", [True, False])
def test_one_flipped_bit_of_the_weights_is_noticed(
    copy: Path, way_in: Command, known: bool
) -> None:
    """By the digest of the weights; and by the posteriors, of runs made before there was one."""
    file = copy / "weights.safetensors"
    if not known:
        without_digests(copy)
    state = load_file(file)
    state["classifier.6.bias"].view(np.uint32)[1] ^= np.uint32(1 << 30)
    save_file(state, file)
    status, shown, error = way_in(repro.verify, f"run={copy}")
    assert status == 1
    assert (str(file) in error) == known
    assert not any(verdicts(shown).values())


def test_other_data_and_a_lost_net_are_refused(
    copy: Path, photographs: Path, way_in: Command, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(photographs, tmp_path / "other"))
    (other / "test" / "cat" / "8.png").rename(other / "test" / "cat" / "new.png")
    status, shown, error = way_in(repro.verify, f"run={copy}", f"data.root={other}")
    assert (status, shown, error.count("\n")) == (2, "", 1)
    assert "test/cat/new.png" in error
    (copy / "weights.safetensors").unlink()
    status, shown, error = way_in(repro.verify, f"run={copy}")
    assert (status, shown, error.count("\n")) == (2, "", 1)
    assert copy.name in error


@pytest.mark.parametrize(
    ("way", "words", "said"),
    [
        *(("predict", "good.png", "run="), ("predict", "run=RUN good.png tset=centre", "tset=")),
        *(("predict", "run=RUN good.png bad.png", "bad.png"), ("predict", "run=RUN", "image")),
        ("predict", "run=RUN good.png test=each_scale", "single_scale"),
        *(("predict", "run=RUN good.png top=0", "top=0"), ("predict", "run=x good.png", "run=/")),
        *(("verify", "", "run="), ("verify", "run=RUN data.root=/nowhere", "/nowhere")),
        *(("verify", "run=RUN device=cuda:9", "device=cuda:9"), ("verify", "run=. seed=x", "seed")),
        ("export", "run=x format=caffe out=a.onnx", "torchvision, safetensors, onnx"),
        *(("export", "run=x format=onnx out=a.onnx", "run="), ("export", "run=RUN", "format=")),
        *(("export", "run=RUN format=onnx out=good.png/a.onnx", "out=good.png"),),
        *(("export", "run=RUN format=onnx out=a.pth", ".onnx"),),
    ],
)
def test_a_wrong_request_is_one_line(
    way: str,
    words: str,
    said: str,
    trained: Path,
    way_in: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    photograph(tmp_path / "good.png", 40, 50, seed=1)
    (tmp_path / "bad.png").write_text("<svg/>")
    given = words.replace("RUN", str(trained)).split()
    status, shown, error = way_in(getattr(repro, way), *given)
    assert (status, shown, error.count("\n")) == (2, "", 1)
    assert said in error
