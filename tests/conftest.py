"""What several rooms' tests need: the configurations of `conf/`, composed as the program does."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable, Sequence
from functools import cache

import pytest
from hypothesis import settings
from omegaconf import DictConfig

from repro import plan as planning
from repro.config import composing
from repro.config.composing import one
from repro.config.schema import Config
from repro.config.way_in import status_of

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell in the background ignores it, and so would every process that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure.
settings.register_profile("repro", deadline=None)
settings.load_profile("repro")
# Nor does a test's machine lose its power; a disk takes longer to be sure than most tests do.
os.fsync = lambda _: None
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def kept(words: Sequence[str]) -> DictConfig:
    """What Hydra composes from `conf/` alone, once for all tests: it takes a tenth of a second."""
    return ours(tuple(words)) if not any("searchpath" in w for w in words) else composes(words)


composes, ours = composing.composed, cache(composing.composed)
composing.composed = kept
Compose = Callable[..., Config]
_composed = cache(one)


def composed(*words: str) -> Config:
    """The configuration of some words, as in `composed("arch=D", "size=tiny")`."""
    return copy.deepcopy(_composed(words))


@pytest.fixture
def compose() -> Compose:
    """`composed`, for a test."""
    return composed


def plan(words: list[str]) -> int:
    """The exit status of `python -m repro.plan`, in this process."""
    return status_of(lambda: planning.plan(words), "interrupted")
