"""`python -m repro.run --help`: read from the files in `conf/`, without Hydra and without torch."""

from __future__ import annotations

from repro.config import choices


def text(introduction: str, protocols: list[str]) -> str:
    """The help: what the command does, every group with its choices, every scalar.

    Args:
        introduction: what the command does.
        protocols: a line for each choice of `test`.
    """
    parts = [introduction.strip(), "", "Groups, as GROUP=CHOICE (* the default):"]
    groups = {"hydra/launcher": "basic"}
    for group, default in (choices.config().chosen | groups).items():
        if group.startswith("hydra/") and group not in groups:
            continue
        parts += ["", f"  {group}"]
        names = choices.names(group)
        width = max(len(name) for name in names)
        for name in names:
            mark = "*" if name == default else " "
            comment = choices.first_comment(group, name)
            parts.append(f"  {mark} {name:<{width}}  {comment}")
    parts += ["", "Scalars, as KEY=VALUE:", ""]
    parts += [f"    {line}" if line else "" for line in choices.scalar_lines()]
    parts += ["Protocols, as test=[NAME,NAME]:", "", *(f"    {line}" for line in protocols), ""]
    parts += [
        "Any value of a group can be changed too, as in recipe.epochs=12 or size.width=0.5.",
        "With -m a comma makes a sweep: seed=0,1,2.",
        "",
        "Options:",
        "",
        "    -m, --multirun      a sweep: a run for each combination of the values given",
        "    --cfg job           print the configuration and stop (Hydra's own: hydra; both: all)",
        "    --package KEY       of it only the part below KEY",
        "    --resolve           with what ${...} stands for",
        "    --config-dir DIR    a folder of your own files, laid out as conf/",
        "",
        "Then: python -m repro.report",
    ]
    return "\n".join(parts)
