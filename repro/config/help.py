"""`python -m repro.run --help`: read from the files in `conf/`, without Hydra and without torch."""

from __future__ import annotations

from repro.config.choices import CONF, first_comment


def text(introduction: str, protocols: list[str]) -> str:
    """The help: what the command does, every group with its choices, every scalar.

    Args:
        introduction: what the command does.
        protocols: a line for each choice of `test`.
    """
    parts = [introduction.strip(), "", "Groups, as GROUP=CHOICE (* the default):"]
    lines = (CONF / "config.yaml").read_text(encoding="utf-8").splitlines()
    for group, default in [*_defaults(lines), ("hydra/launcher", "basic")]:
        parts += ["", f"  {group}"]
        files = sorted((CONF / group).glob("*.yaml"))
        width = max(len(file.stem) for file in files)
        for file in files:
            mark = "*" if file.stem == default else " "
            parts.append(f"  {mark} {file.stem:<{width}}  {first_comment(file)}")
    parts += ["", "Scalars, as KEY=VALUE:", ""]
    parts += [f"    {line}" if line else "" for line in _scalars(lines)]
    parts += ["Protocols, as test=[NAME,NAME]:", "", *(f"    {line}" for line in protocols), ""]
    parts += [
        "Any value of a group can be changed too, as in recipe.epochs=12 or size.width=0.5;",
        "`--cfg job` prints the whole configuration. With -m a comma makes a sweep: seed=0,1,2.",
        "",
        "Then: python -m repro.report",
    ]
    return "\n".join(parts)


def _defaults(lines: list[str]) -> list[tuple[str, str]]:
    pairs = [line.strip(" -").split(": ") for line in lines if line.startswith("  - ")]
    return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and "override" not in pair[0]]


def _scalars(lines: list[str]) -> list[str]:
    start = next(index for index, line in enumerate(lines) if line.startswith("seed:"))
    end = next(index for index, line in enumerate(lines) if line.startswith("hydra:"))
    return lines[start:end]
