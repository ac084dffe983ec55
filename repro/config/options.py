"""A command line: its options, and its words KEY=VALUE."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from repro.errors import RequestError

FULL_ERROR = "HYDRA_FULL_ERROR"
"""The variable that, at 1, has a traceback follow a refusal."""
ITS_OWN = "each run starts from conf/config.yaml; --config-dir names a folder of your own files"
REFUSED = {
    "--experimental-rerun": "it unpickles a file, which may run anything; a run's own words stand "
    "in its config.yaml, as record.command",
    **dict.fromkeys(("--config-path", "-cp", "--config-name", "-cn"), ITS_OWN),
    **dict.fromkeys(
        ("--info", "-i"), "--cfg all prints what Hydra composed, dry_run=true the runs"
    ),
    **dict.fromkeys(("--shell-completion", "-sc"), "--help lists all choices and keys"),
    **dict.fromkeys(("--run", "-r"), "a command without -m is one run"),
    "--hydra-help": "docs/hydra.md says what differs from plain Hydra",
}
"""Options of Hydra's that are not here, and where the same is."""


@dataclass(frozen=True)
class Options:
    """What a command line asks for."""

    words: tuple[str, ...]
    """KEY=VALUE, as they were given."""
    multirun: bool = False
    config_dir: Path | None = None
    """A folder of the user's own files, laid out as conf/."""
    cfg: str | None = None
    """What is to be printed instead of done: `job`, `hydra` or `all`."""
    package: str | None = None
    """Only this part of it."""
    resolve: bool = False
    """With what its interpolations stand for."""

    @property
    def arguments(self) -> list[str]:
        """The command line that asks for the same, options first."""
        folder = [] if self.config_dir is None else ["--config-dir", str(self.config_dir)]
        return [*(["-m"] if self.multirun else []), *folder, *self.words]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; --help says what there is")


def read(arguments: list[str]) -> Options:
    """The options and words of a command line, in whatever order they stand.

    Raises:
        RequestError: an option that there is not, or that does not go with another.
    """
    for argument in arguments:
        option = argument.partition("=")[0]
        if option in REFUSED:
            raise RequestError(f"{option} is refused: {REFUSED[option]}")
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-cd", "--config-dir", type=Path)
    parser.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
    parser.add_argument("-p", "--package")
    parser.add_argument("--resolve", action="store_true")
    given = parser.parse_intermixed_args(arguments)
    options = Options(**vars(given) | {"words": tuple(given.words)})
    if options.cfg is None and (options.package is not None or options.resolve):
        raise RequestError("--package and --resolve say what --cfg prints: add --cfg job")
    if options.cfg is not None and options.multirun:
        raise RequestError("--cfg prints the configuration of one run: leave out -m")
    if options.config_dir is not None and not options.config_dir.is_dir():
        raise RequestError(f"--config-dir {options.config_dir}: there is no such folder")
    return options
