"""The machine, the versions and the settings that a run had, for `result.json`."""

import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from repro import __version__
from repro.config.choices import CONF
from repro.config.schema import Config
from repro.run.device import memory_format
from repro.run.distributed import ALONE, World

KEPT = ("threads", "workers", "compile", "micro_batch", "fast")
"""The keys that `result.json` tells beside what a run is."""


def describe(config: Config, used: torch.device, world: World = ALONE) -> dict[str, Any]:
    """Machine, versions and settings, for `result.json`."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "torchvision", "numpy")},
        "vgg-repro": __version__,
        **_git(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "cpu": cpu(),
        **{key: getattr(config, key) for key in KEPT},
        "channels_last": memory_format(config, used) == torch.channels_last,
        "world_size": world.size,
        "device": device_name(used),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def device_name(device: torch.device) -> str:
    """A GPU's name, or what kind of device it is."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def cpu() -> str:
    """The name of the processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _git() -> dict[str, Any]:
    """The commit of the checkout that this program runs from; none where it is installed."""

    def said(*words: str) -> str:
        command = ["git", "-C", str(CONF.parent), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    with suppress(OSError, subprocess.SubprocessError):
        if (CONF.parent / ".git").exists():
            status = said("status", "--porcelain", "--untracked-files=no", "--", "repro", "conf")
            return {"git_commit": said("rev-parse", "HEAD"), "git_dirty": bool(status)}
    return {"git_commit": None, "git_dirty": None}
