"""A net of the paper's size, tested within the memory that the README states."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

from repro.config.choices import CONF
from tests.release.conftest import photograph

CLASSES = 20
STATED = re.compile(r"at full size in at most ([\d.]+) GB")
STATUS = Path("/proc/self/status")
PROGRAM = f"""
import sys
from pathlib import Path
from repro.config.command import command

status = command(sys.argv[1:])
peak = next(row for row in Path("{STATUS}").read_text().splitlines() if row.startswith("VmHWM"))
print("peak", int(peak.split()[1]) * 1024)
sys.exit(status)
"""


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.is_file(), reason="Linux says what a process held at most")
def test_d_at_full_size_takes_the_memory_that_is_stated(tmp_path: Path) -> None:
    (stated,) = STATED.findall((CONF.parent / "README.md").read_text())
    for label in range(CLASSES):
        place = tmp_path / f"photos/val/class{label:02d}/0.png"
        photograph(place, *((375, 500) if label % 4 else (500, 375)), seed=label)
    with torch.device("meta"):
        shapes = torchvision.models.vgg16(num_classes=CLASSES).state_dict()
    file = tmp_path / "vgg16.pth"
    made = {name: torch.empty(meta.shape).uniform_(-0.02, 0.02) for name, meta in shapes.items()}
    torch.save(made, file)
    del made
    words = ["arch=D", f"weights={file}", "data=imagefolder", f"data.root={tmp_path / 'photos'}"]
    words += ["scale=S256", "test=[single_scale,centre]", "data.mirror=false", "device=cpu"]
    words += [f"runs={tmp_path / 'runs'}", "progress=false"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=CONF.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (peak,) = re.findall(r"^peak (\d+)$", done.stdout, re.MULTILINE)
    print(f"{int(peak) / 1e9:.2f} GB")
    # More than the weights alone: something was measured.
    assert 0.6e9 < int(peak) < float(stated) * 1e9
    for path in (file, *tmp_path.rglob("weights.safetensors")):
        # Half a gigabyte each.
        path.unlink()
