"""From a command line to finished runs, through Hydra, twice.

The first pass composes and checks every job of the request and runs nothing; one wrong job
refuses the request. The second pass hands the jobs to Hydra's launcher. What became of them is
then read from the store, whichever launcher worked and wherever.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from repro.config import CONF, register, typed
from repro.errors import RequestError

if TYPE_CHECKING:
    from repro.request import Request

SHOWING = ("cfg", "info", "hydra_help", "shell_completion")


def command(arguments: list[str]) -> int:
    """Do what the command line asks for.

    Returns:
        The exit status: 0, 1 or 2 as `repro.run` says.

    Raises:
        repro.train.interruption.Interrupted: asked to stop; carries status 75.
    """
    # Hydra then raises instead of printing and leaving with its own status.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        return _command(arguments)
    except RequestError as error:
        return _refuse(str(error))
    except Exception as error:
        if _is_configuration_error(error):
            return _refuse(_message(error))
        raise


def _command(arguments: list[str]) -> int:
    from hydra._internal.utils import get_args_parser

    options = get_args_parser().parse_args(arguments)
    if options.experimental_rerun is not None:
        raise RequestError(
            "--experimental-rerun is refused: it unpickles a file, which may run anything; "
            "give the run's own command again"
        )
    if any(getattr(options, name) for name in SHOWING):
        _hydra(arguments, lambda config: None)
        return 0
    requests = _compose(arguments)
    if requests[0].config.dry_run:
        print(_plan(requests))
        return 0
    if not all(request.finished() for request in requests):
        _hydra(arguments, job)
    return _outcome(requests)


def _hydra(arguments: list[str], function: Callable[[Any], None]) -> None:
    import hydra

    register()
    before, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(function)()
    finally:
        sys.argv = before


def _compose(arguments: list[str]) -> list[Request]:
    """Compose and check every job, in this process and without leaving a trace."""
    from repro.environment import device
    from repro.request import resolve

    requests: list[Request] = []
    errors: list[str] = []

    def collect(config: Any) -> None:
        try:
            _check_choices()
            request = resolve(typed(config))
            device(request.config.device)
            requests.append(request)
        except Exception as error:
            if not isinstance(error, RequestError) and not _is_configuration_error(error):
                raise
            errors.append(_message(error))

    launching = ("hydra/launcher=", "hydra.launcher.", "hydra.sweep.dir=", "hydra.run.dir=")
    kept = [word for word in arguments if not word.lstrip("+~").startswith(launching)]
    with tempfile.TemporaryDirectory() as folder:
        places = [f"hydra.sweep.dir={folder}", f"hydra.run.dir={folder}"]
        _hydra([*kept, "hydra/launcher=basic", *places], collect)
    if errors:
        raise RequestError("\n".join(dict.fromkeys(errors)))
    return list({request.name: request for request in requests}.values())


def _check_choices() -> None:
    """Refuse several choices of one group in one run: Hydra would merge them into one."""
    from hydra.core.hydra_config import HydraConfig

    for word in HydraConfig.get().overrides.task:
        group, _, chosen = word.partition("=")
        if (CONF / group).is_dir() and chosen.startswith("["):
            raise RequestError(
                f"{word} names several choices for one run: a sweep is -m {group}={chosen[1:-1]}"
            )


def job(config: Any) -> None:
    """One job of the request, as a launcher runs it; failures are recorded in the store."""
    from repro.perform import perform
    from repro.request import resolve

    perform(resolve(typed(config)))


def _outcome(requests: list[Request]) -> int:
    """Say what became of the request, from the store; the exit status."""
    from repro.store.runs import failure

    failed = [request for request in requests if not request.finished()]
    for request in failed:
        reasons = (failure(member.folder) for member in request.lineage())
        reason = next((reason for reason in reasons if reason), "it did not finish")
        print(f"failed: {request.name}: {reason}", file=sys.stderr)
    done = f"{len(requests) - len(failed)} of {len(requests)} runs finished"
    if failed:
        print(f"{done}; the same command goes on", file=sys.stderr)
        return 1
    runs = requests[0].config.runs
    print(
        f"{done} in {runs}; next: python -m repro.report{'' if runs == 'runs' else f' runs={runs}'}"
    )
    return 0


def _plan(requests: list[Request]) -> str:
    from repro.spec.cost import cost

    lines, seen = [], set()
    for request in requests:
        for member in request.lineage():
            if member.name in seen:
                continue
            seen.add(member.name)
            state = "new"
            if member.finished():
                state = "finished"
            elif any(member.folder.glob("checkpoint-*")):
                state = "goes on"
            elif (member.folder / "result.json").is_file():
                state = "trained, views missing"
            views = ", ".join(view.name for view in member.missing_views())
            lines += [
                f"{member.name}: {state}; {cost(member.net).parameters:,} parameters, "
                f"{member.config.recipe.epochs} epochs; views to compute: {views or 'none'}"
            ]
    return "\n".join([*lines, f"{len(seen)} runs in {requests[0].config.runs}; nothing was done"])


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


def _is_configuration_error(error: BaseException) -> bool:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return isinstance(error, HydraException | OmegaConfBaseException)


def _message(error: BaseException) -> str:
    lines = [str(error).strip()]
    cause = error.__cause__
    if cause is not None and str(cause).strip() and str(cause).strip() not in lines[0]:
        lines.append(str(cause).strip())
    return "\n".join(lines)
