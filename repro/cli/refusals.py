"""A wrong request becomes one line that says what, where, and what would be right; status 2."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Callable

import yaml

from repro.errors import RequestError, one_line
from repro.process.interruption import STATUS, interruptible


def guarded(work: Callable[[], int]) -> int:
    """The exit status of `work`, where a wrong request becomes a line and status 2.

    Raises:
        repro.process.interruption.Interrupted: asked to stop; carries status 75.
    """
    # Hydra then raises instead of printing and leaving with its own status.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with interruptible():
            return work()
    except RequestError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        # No run was under way: one that is takes the signal itself and saves what it has.
        return STATUS
    except yaml.YAMLError as error:
        return _refuse(f"a file of conf/ cannot be read: {one_line(error)}")
    except Exception as error:
        if is_configuration_error(error):
            return _refuse(message(error))
        raise


def _refuse(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


def is_configuration_error(error: BaseException) -> bool:
    """Whether Hydra or its configuration raised it."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    return isinstance(error, HydraException | OmegaConfBaseException)


def message(error: BaseException) -> str:
    """One line that says what is wrong, or Hydra's list of choices; nothing for its developers."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    text = str(error).strip()
    if several := re.match(r"Ambiguous value for argument '(.*)'", text):
        return f"{several[1]} are several values: add -m for a sweep"
    cause = error.__cause__
    for known in (error, cause):
        if isinstance(known, ConfigKeyError | ConfigAttributeError):
            section = known.object_type
            if section is not None and dataclasses.is_dataclass(section):
                keys = ", ".join(field.name for field in dataclasses.fields(section))
                return f"{known.full_key} is not known: choose from {keys}"
    if cause is not None and str(cause).strip() not in text:
        text += f"\n{str(cause).strip()}"
    text = text.partition("Config search path:")[0].removeprefix("Error merging override ")
    if "Available options" in text:
        return text.rstrip()
    developers = ("full_key:", "object_type=", "reference_type=", "See https:")
    lines = [line.strip().rstrip(".:") for line in text.splitlines()]
    line = ": ".join(line for line in lines if line and not line.startswith(developers))
    return line.replace(
        "Invalid value assigned: str is not a ListConfig, list or tuple",
        "expected a list, as in test=[single_scale,centre]",
    )
