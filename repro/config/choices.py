"""The files of `conf/`: where they lie, which choices a group has, and what each holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from repro.errors import RequestError

PACKAGE = Path(__file__).resolve().parents[1]
# The wheel carries conf/ inside the package; a checkout has it at its root.
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"


def unknown_choice(group: str, name: object) -> RequestError:
    """The refusal of a choice that there is not, with those that there are."""
    known = ", ".join(sorted(file.stem for file in (CONF / group).glob("*.yaml")))
    return RequestError(f"{group}={name} is not known: choose from {known}")


def choice(group: str, name: str) -> dict[str, Any]:
    """The content of `conf/GROUP/NAME.yaml`, with the file that it builds on.

    Raises:
        RequestError: there is no such file.
    """
    # Listed instead of looked for: `../arch/A` would be a file too.
    files = {file.stem: file for file in (CONF / group).glob("*.yaml")}
    if name not in files:
        raise unknown_choice(group, name)
    tree: dict[str, Any] = yaml.safe_load(files[name].read_text(encoding="utf-8"))
    base: dict[str, Any] = {}
    for parent in tree.pop("defaults", []):
        base |= choice(group, parent)
    return base | tree


def first_comment(file: Path) -> str:
    """What a file of `conf/` says that it is: its first line of comment that is not Hydra's."""
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return next((comment for comment in comments if not comment.startswith("@package")), "")
