"""From a command line to finished runs, through Hydra, twice.

The first pass composes and checks every job of the request and runs nothing; one wrong job
refuses the request. The second pass hands the jobs to Hydra's launcher. What became of them is
then read from the store, whichever launcher worked and wherever.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from repro.cli import launchers, settings
from repro.cli.refusals import guarded, is_configuration_error, message
from repro.config.choices import CONF, unknown_choice
from repro.config.schema import Config, typed
from repro.errors import RequestError, RunError
from repro.process.interruption import Interrupted
from repro.store.files import check_writable
from repro.store.leases import LOCKS

if TYPE_CHECKING:
    from repro.experiment.request import Request

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
SHOWING = ("cfg", "info", "hydra_help", "shell_completion", "resolve")


def command(arguments: list[str]) -> int:
    """Do what the command line asks for.

    Returns:
        The exit status: 0, 1 or 2 as `repro.run` says.

    Raises:
        repro.process.interruption.Interrupted: asked to stop; carries status 75.
    """
    if "LOCAL_RANK" in os.environ:
        # torchrun started this process.
        from repro.experiment.finish import work
        from repro.process.followers import beside_others

        return beside_others(lambda: guarded(lambda: _command(arguments)), work)
    return guarded(lambda: _command(arguments))


def _command(arguments: list[str]) -> int:
    words = readable(arguments)
    if words is None:
        return 0
    launcher = launchers.check(words)
    try:
        requests = compose(words, _checked)
        if requests[0].config.dry_run:
            print(_plan(requests))
            return 0
        finished = [request for request in requests if request.finished()]
        if len(finished) < len(requests):
            _make_stores({request.config.runs for request in requests})
            _launch(launcher, words)
    except (Interrupted, KeyboardInterrupt):
        print(f"interrupted; {launchers.goes_on(words)}", file=sys.stderr)
        raise
    _show(requests if launchers.out_of_sight(launcher) else finished)
    return _outcome(requests, words)


def readable(arguments: list[str]) -> list[str] | None:
    """The words in the order that Hydra can read; None where it was asked to show something.

    Raises:
        RequestError: a word that Hydra would take for something else.
    """
    options, arguments = _parse(arguments)
    if options.experimental_rerun is not None:
        raise RequestError(
            "--experimental-rerun is refused: it unpickles a file, which may run anything; "
            "give the run's own command again"
        )
    if options.config_path is not None or options.config_name is not None:
        raise RequestError(
            "--config-path and --config-name are refused: each run starts from conf/config.yaml; "
            "--config-dir names a folder of your own files"
        )
    if any(getattr(options, name) for name in SHOWING):
        try:
            _hydra(arguments, lambda config: None)
        except ValueError as error:
            # Two of these at once: Hydra says which can be had.
            raise RequestError(str(error)) from None
        return None
    _check_words(options.overrides)
    return arguments


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the arguments in the order that Hydra can read: its options first."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise RequestError(f"{message}; --help says what there is")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    options = parser.parse_intermixed_args(arguments)
    flags, words = [], list(options.overrides)
    for argument in arguments:
        if words and argument == words[0]:
            words.pop(0)
        else:
            flags.append(argument)
    if flags and flags[-1] in ("--info", "-i"):
        # It would take the first word for its own.
        flags[-1] = "--info=all"
    return options, [*flags, *options.overrides]


def _check_words(words: list[str]) -> None:
    """Refuse what Hydra would take for something else, or not say how to write."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException:
            raise RequestError(
                f"{word} cannot be read: expected KEY=VALUE, as in arch=D or recipe.epochs=12"
            ) from None
        except ValueError:
            # Python reads no number of thousands of digits.
            raise RequestError(f"{word[:40]}... cannot be read: the number is too long") from None
        group, value = override.key_or_group, override.value()
        if not group:
            raise RequestError(f"{word} names no key: expected KEY=VALUE, as in arch=D")
        if not (CONF / group).is_dir() or override.is_delete():
            continue
        if group == "experiments" and isinstance(value, ChoiceSweep):
            raise RequestError(f"{word}: each experiment is a sweep of its own, give one at a time")
        for choice in value.list if isinstance(value, ChoiceSweep) else [value]:
            if isinstance(choice, list):
                names = ",".join(map(str, choice))
                raise RequestError(
                    f"{word} names several choices for one run: a sweep is -m {group}={names}"
                )
            if isinstance(choice, int | float | None) or "/" in str(choice):
                raise unknown_choice(group, choice)


def _make_stores(folders: set[str]) -> None:
    for folder in folders:
        for place in (Path(folder), Path(folder) / LOCKS):
            check_writable(place)
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(f"runs={folder} cannot be made: {error.strerror}") from None


def register() -> None:
    """Make the schema known to Hydra as the node `schema`, the first of config.yaml's defaults."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=Config)


def _hydra(arguments: list[str], function: Callable[[Any], None]) -> None:
    import hydra
    from hydra.plugins.sweeper import Sweeper

    register()
    before, sys.argv = sys.argv, [sys.argv[0], *arguments]
    checks = Sweeper.validate_batch_is_legal
    # It composes every job once more, to find out what the first pass here finds out.
    Sweeper.validate_batch_is_legal = lambda self, batch: None  # type: ignore[method-assign]
    try:
        with settings.checked():
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(function)()
    finally:
        sys.argv, Sweeper.validate_batch_is_legal = before, checks  # type: ignore[method-assign]


def _checked(config: Config) -> Request:
    from repro.experiment import machine
    from repro.experiment.request import resolve
    from repro.process.device import pick
    from repro.process.distributed import process_group
    from repro.track import trackers

    request = resolve(config)
    trackers.check(config.track.name)
    for member in request.lineage():
        member.check_folder()
    machine.check(request, pick(request.config.device, process_group()))
    return request


def compose(arguments: list[str], check: Callable[[Config], Request]) -> list[Request]:
    """Compose every job and `check` it, in this process and without leaving a trace.

    Raises:
        RequestError: what is wrong with any of them, a line each.
    """
    requests: list[Request] = []
    errors: list[str] = []

    def collect(config: Any) -> None:
        try:
            requests.append(check(typed(config)))
        except Exception as error:
            known = isinstance(error, RequestError | RunError)
            if not known and not is_configuration_error(error):
                raise
            errors.append(message(error))

    written = ("hydra.sweep.dir=", "hydra.run.dir=")
    kept = [word for word in arguments if not word.lstrip("+~").startswith(written)]
    with tempfile.TemporaryDirectory() as folder, launchers.nowhere_else():
        _hydra([*kept, *(f"{place}{folder}" for place in written)], collect)
    if errors:
        raise RequestError("\n".join(dict.fromkeys(errors)))
    if not requests:
        words = " ".join(word for word in arguments if "(" in word)
        raise RequestError(f"{words}: there is no run in this sweep: a range or a glob is empty")
    return list({(request.name, request.views): request for request in requests}.values())


def _launch(launcher: str, arguments: list[str]) -> None:
    try:
        with launchers.started(launcher):
            _hydra(arguments, launchers.job)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            # Of Hydra's own files; a run says so by itself.
            print(f"the sweep cannot be written down: {error.strerror}", file=sys.stderr)
            return
        if launcher == launchers.BASIC or is_configuration_error(error):
            raise
        print(launchers.ended(launcher, error, arguments), file=sys.stderr)


def _show(requests: list[Request]) -> None:
    """The results of runs that were finished before, or by processes that print elsewhere."""
    from repro.experiment.summary import summary

    for request in requests:
        if request.finished():
            print(summary(request))


def _outcome(requests: list[Request], words: list[str]) -> int:
    """Say what became of the request, from the store; the exit status."""
    from repro.store.runs import why_unfinished

    failed = [request for request in requests if not request.finished()]
    for request in failed:
        reasons = (why_unfinished(member.folder) for member in request.lineage())
        reason = next((reason for reason in reasons if reason), "it did not finish")
        print(f"failed: {request.name}: {reason}", file=sys.stderr)
    done = f"{len(requests) - len(failed)} of {len(requests)} runs finished"
    if failed:
        print(f"{done}; {launchers.goes_on(words)}", file=sys.stderr)
        return 1
    runs = requests[0].config.runs
    print(
        f"{done} in {runs}; next: python -m repro.report{'' if runs == 'runs' else f' runs={runs}'}"
    )
    return 0


def _plan(requests: list[Request]) -> str:
    from repro.arch.cost import cost

    lines, seen = [], set()
    for request in requests:
        for member in request.lineage():
            if member.name in seen:
                continue
            seen.add(member.name)
            views = ", ".join(view.name for view in member.missing_views())
            lines += [
                f"{member.name}: {member.state()}; {cost(member.net).parameters:,} parameters, "
                f"{member.config.epochs} epochs; views to compute: {views or 'none'}"
            ]
    runs = "1 run" if len(seen) == 1 else f"{len(seen)} runs"
    done = f"{runs} in {requests[0].config.runs}; nothing was done"
    return "\n".join([*lines, f"{done}; python -m repro.plan says what they would take"])
