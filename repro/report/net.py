"""The name of a net: what tells the nets of one setting apart, seeds aside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from repro.config import choices
from repro.config.schema import Config, Init
from repro.errors import RequestError
from repro.store.identity import base

OWN = "of_recipe"
"""The choice of `conf/init/` that names no initialisation."""


@dataclass(frozen=True)
class Net:
    """A net as it is trained; each part is the whole name, as in `D+width=0.5`."""

    arch: str
    scale: str
    finetune: str = "all"
    init: str | None = None
    """The initialisation; None: the one that the setting's plain names stand for."""

    @classmethod
    def of(cls, config: Config, usual: Init) -> Net:
        """The net of a configuration in a setting of that usual initialisation."""
        net = cls(config.arch.name, config.scale.name, config.finetune, config.init.name)
        return net.plain(usual, config.recipe.init)

    @classmethod
    def named(cls, name: str) -> Net:
        """The net of the file `conf/net/NAME.yaml`; raises RequestError where there is none."""
        file, usual = choices.read("net", name), choices.config().chosen
        arch, scale = (str(file.chosen.get(key) or usual[key]) for key in ("arch", "scale"))
        init = file.chosen.get("init") or OWN
        return cls(arch, scale, file.values.get("finetune", "all"), None if init == OWN else init)

    def plain(self, usual: Init, own: str) -> Net:
        """The net without its initialisation where that is the setting's (`own`: the recipe's)."""
        # The net that the others start from has no other way to start itself.
        expected = {usual.name} | ({own} if usual.copy_from == base(self.arch) else set())
        return Net(self.arch, self.scale, self.finetune) if self.init in expected else self

    def __str__(self) -> str:
        """Its name in text, as in `D-jitter-fc` or `E-S256-he`."""
        tuned = "" if self.finetune == "all" else self.finetune
        return "-".join(filter(None, (self.arch, self.scale, tuned, self.init)))

    def __lt__(self, other: Net) -> bool:
        return str(self) < str(other)


Nets = Net | tuple[Net, ...]
"""A net, or the members of an ensemble."""


def members(nets: Nets) -> tuple[Net, ...]:
    """The members of an ensemble; of a net, itself."""
    return nets if isinstance(nets, tuple) else (nets,)


def label(nets: Nets) -> str:
    """The name of a net or an ensemble in text, as in `D-jitter+E-jitter`."""
    return "+".join(map(str, members(nets)))


@lru_cache
def known() -> Mapping[str, Net]:
    """The nets of `conf/net/` by the names of their files."""
    return {name: Net.named(name) for name in choices.names("net")}


def named(words: str, others: Iterable[Net] = ()) -> Nets:
    """The net or the ensemble that some words name, as in `D-jitter+E-jitter`.

    Each is a file of `conf/net/` or one of the other nets; raises RequestError where it is none.
    """
    nets = {**known(), **{str(net): net for net in others}}
    if words in nets:
        return nets[words]
    parts = words.split("+")
    if unknown := [part for part in parts if part not in nets]:
        raise RequestError(f"there is no net {unknown[0]}, but {', '.join(sorted(nets))}")
    return tuple(nets[part] for part in parts)
