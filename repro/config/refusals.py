"""A wrong request becomes one line that says what, where, and what would be right; status 2."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence

from repro.config.way_in import refused
from repro.errors import RequestError
from repro.run.interruption import STATUS, interruptible


def guarded(work: Callable[[], int]) -> int:
    """The exit status of `work`, where a wrong request becomes a line and status 2.

    Raises:
        repro.run.interruption.Interrupted: asked to stop; carries status 75.
    """
    try:
        with interruptible():
            return work()
    except RequestError as error:
        print(error, file=sys.stderr)
        return 2
    except PermissionError as error:
        print(refused(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # No run was under way: one that is takes the signal itself and saves what it has.
        return STATUS


def said(error: BaseException, words: Sequence[str] = ()) -> str:
    """What is wrong, in one line, by what Hydra or OmegaConf raised while composing.

    Args:
        error: as they raised it.
        words: what was composed, so that the word in question is shown as it was given.
    """
    from hydra.errors import MissingConfigException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        return _unknown(error.missing_cfg_file, error.options, words)
    below = error.__cause__ or error.__context__
    cause = error if isinstance(error, OmegaConfBaseException) else below
    if not isinstance(cause, OmegaConfBaseException):
        return _first_line(error)
    section, key = cause.object_type, str(cause.full_key or "")
    known = dataclasses.fields(section) if dataclasses.is_dataclass(section) else ()
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and known:
        return f"{key} is not known: choose from {', '.join(field.name for field in known)}"
    what = _first_line(cause)
    if any(field.name == key and str(field.type).startswith("list") for field in known):
        what = f"expected a list, as in {key}=[single_scale,centre]"
    given = next((word for word in words if word.lstrip("+~").partition("=")[0] == key), None)
    if given is not None:
        return f"{given}: {what}"
    if error is cause:
        return what
    # Of a file, which Hydra names.
    return f"{_first_line(error)}: {key}: {what}" if key else f"{_first_line(error)}: {what}"


def _unknown(missing: str, options: Sequence[str], words: Sequence[str]) -> str:
    group, _, name = missing.rpartition("/")
    known = f"choose from {', '.join(options)}"
    given = {tuple(word.lstrip("+").replace("'", "").split("=", 1)) for word in words}
    if (group, name) in given:
        return f"{group}={name} is not known: {known}"
    return f"{missing}, which a list of defaults names, is not there: {known}"


def _first_line(error: BaseException) -> str:
    """Without what follows for Hydra's developers."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".:")
