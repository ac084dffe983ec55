"""The name of a net: what tells the nets of one setting apart, seeds aside; and readers' words."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from repro.config import choices
from repro.config.schema import Arch, Config, Init
from repro.errors import RequestError
from repro.model import layers, reading
from repro.paper import numbers
from repro.protocol.boxes import NONE
from repro.store.identity import base

OWN = "of_recipe"
"""The choice of `conf/init/` that names no initialisation."""
TABLE1 = tuple(numbers.table1())
"""The names of its columns, in order."""
CHANGED = re.compile(r"\+(?=[a-z_.]+=)")
"""The sign between a name and a changed value, as in `jitter+lr_factor=1e+30`."""
FILES = re.compile(r"\+([0-9a-f]{6})$")
"""The beginning of a folder's fingerprint, which ends the name of its data."""
WORDS = {
    "lr_factor": "learning rate times {}",
    "first_classes": "first {} classes",
    "train_images": "{} training images",
    "draws": "{} random draws",
    "content": "another file of this name ({})",
}
"""How a changed value is worded, by its key; others by key and value."""


@dataclass(frozen=True)
class Net:
    """A net as it is trained; each part is the whole name, as in `D+width=0.5`."""

    arch: str
    scale: str
    finetune: str = "all"
    init: str | None = None
    """The initialisation; None: the one that the setting's plain names stand for."""
    boxes: str = NONE

    @classmethod
    def of(cls, config: Config, usual: Init) -> "Net":
        """The net of a configuration in a setting of that usual initialisation."""
        words = config.arch.name, config.scale.name, config.finetune, config.init.name
        return cls(*words, config.boxes).plain(usual, config.recipe.init)

    @classmethod
    def named(cls, name: str) -> "Net":
        """The net of the file `conf/net/NAME.yaml`; raises RequestError where there is none."""
        file, usual = choices.read("net", name), choices.config().chosen
        arch, scale = (str(file.chosen.get(key) or usual[key]) for key in ("arch", "scale"))
        init = file.chosen.get("init", OWN)
        finetune, boxes = file.values.get("finetune", "all"), file.values.get("boxes", NONE)
        return cls(arch, scale, finetune, None if init == OWN else init, boxes)

    def plain(self, usual: Init, own: str) -> "Net":
        """Without `init` where it is the usual one; of what gives layers, where it is `own`."""
        # The net that the others start from has no other way to start itself.
        expected = {usual.name} | ({own} if usual.copy_from == base(self.arch) else set())
        return replace(self, init=None) if self.init in expected else self

    @property
    def classifier(self) -> "Net":
        """The net that one with boxes starts from; of others the net itself."""
        return self if self.boxes == NONE else replace(self, boxes=NONE, finetune="all")

    @property
    def arch_title(self) -> str:
        """Its name for readers but for its S, as in `D, FC layers tuned`."""
        tuned = "FC layers tuned" if self.finetune == "fc" else ""
        init = f"init {worded(self.init)}" if self.init else ""
        boxes = "" if self.boxes == NONE else f"boxes {self.boxes.replace('_', ' ')}"
        return ", ".join(filter(None, (worded(self.arch), boxes, tuned, init)))

    @property
    def scale_title(self) -> str:
        """Its S where the head of the column says that it is S."""
        return s_words(self.scale).removeprefix("S=")

    def __str__(self) -> str:
        """Its name in text, as in `D-jitter-fc`, `E-S256-he` or `D-S384-shared-fc`."""
        tuned = "" if self.finetune == "all" else self.finetune
        boxes = "" if self.boxes == NONE else self.boxes
        return "-".join(filter(None, (self.arch, self.scale, boxes, tuned, self.init)))

    def __lt__(self, other: "Net") -> bool:
        """Configurations stand as in Table 1, all others after them by name."""
        places = [TABLE1.index(n.arch) if n.arch in TABLE1 else len(TABLE1) for n in (self, other)]
        return (places[0], self.arch, str(self)) < (places[1], other.arch, str(other))


NetOrEnsemble = Net | tuple[Net, ...]
"""A net, or the members of an ensemble."""


def members(net: NetOrEnsemble) -> tuple[Net, ...]:
    """The members of an ensemble; of a net, itself."""
    return net if isinstance(net, tuple) else (net,)


def label(net: NetOrEnsemble) -> str:
    """The name of a net or an ensemble in text, as in `D-jitter+E-jitter`."""
    return "+".join(map(str, members(net)))


@lru_cache
def known() -> Mapping[str, Net]:
    """The nets of `conf/net/` by the names of their files."""
    return {name: Net.named(name) for name in choices.names("net")}


def named(words: str, others: Iterable[Net] = ()) -> NetOrEnsemble:
    """The net or ensemble that words name, as in `D-jitter+E-jitter`, else a RequestError."""
    nets = {**known(), **{str(net): net for net in others}}
    if words in nets:
        return nets[words]
    parts = words.split("+")
    if unknown := [part for part in parts if part not in nets]:
        raise RequestError(f"no conf/net/{unknown[0]}.yaml: take one of {', '.join(sorted(nets))}")
    return tuple(nets[part] for part in parts)


def built(config: Config, classes: int, arch: Arch | None = None) -> layers.Spec:
    """The layers of a run's net, or of another configuration at that run's size."""
    images = {"channels": config.data.channels, "classes": classes}
    return reading.spec_of(arch or config.arch, config.size, **images)


def worded(name: str) -> str:
    """The name of a choice with its changed values in words, as in `mnist5k, holdout 0.02`."""
    files = FILES.search(name)
    name = name.removesuffix(files.group()) if files else name
    first, *changes = CHANGED.split(name)
    pairs = [change.split("=", 1) for change in changes]
    said = [WORDS.get(key, key.replace("_", " ") + " {}").format(value) for key, value in pairs]
    return ", ".join([first, *said, *([f"file fingerprint {files[1]}"] if files else [])])


def images_of(data: str) -> str:
    """The images that descriptors are of, as in `caltech101`, with what was changed of the data."""
    return worded(FILES.sub("", data).replace("+transfer=true", ""))


def s_words(scale: str) -> str:
    """S as the paper writes it, as in `S=[256; 512]`; a scale of one's own by its name."""
    first, *changes = worded(scale).split(", ")
    return ", ".join([_scales().get(first, first), *changes])


@lru_cache
def _scales() -> dict[str, str]:
    files = {name: choices.choice("scale", name) for name in choices.names("scale")}
    found = {}
    for name, own in files.items():
        low, high = own["smin"], own["smax"]
        found[name] = f"S={low}" if low == high else f"S=[{low}; {high}]"
        before = files.get(str(own.get("parent")), {})
        if (before.get("smin"), before.get("smax")) == (low, high):
            found[name] += ", trained on"
    return found


def title(net: NetOrEnsemble) -> str:
    """A net as in `D, S=[256; 512]`, or the members of an ensemble."""
    if isinstance(net, Net):
        return f"{net.arch_title}, {s_words(net.scale)}"
    return " + ".join(map(str, net))
