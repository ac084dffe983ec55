"""What several rooms' tests need: the configurations of `conf/`, composed as the program does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings

from repro import plan as planning
from repro.config.choices import CONF
from repro.config.composing import register
from repro.config.schema import Config, typed
from repro.config.way_in import status_of

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell in the background ignores it, and so would every process that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure.
settings.register_profile("repro", deadline=None)
settings.load_profile("repro")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


Compose = Callable[..., Config]


@contextmanager
def composed() -> Iterator[Compose]:
    """Compose a configuration from overrides, as in `compose("arch=D", "size=tiny")`."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        yield lambda *overrides: typed(hydra_compose("config", overrides=list(overrides)))


@pytest.fixture
def compose() -> Iterator[Compose]:
    """`composed`, for a test."""
    with composed() as made:
        yield made


def plan(words: list[str]) -> int:
    """The exit status of `python -m repro.plan`, in this process."""
    return status_of(lambda: planning.plan(words), "interrupted")
