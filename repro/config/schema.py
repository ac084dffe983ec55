"""What can be configured: the typed schema behind `conf/`.

An unknown key or a value of the wrong type is refused while Hydra composes, and `32` means the same
run however it was typed (`repro.config.values`). What values must satisfy together is checked in
`repro.run.checking`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

EAGER = "none"
"""The value of `compile` that compiles nothing."""
AUTO = "auto"
"""The value of `test_precision` that takes the precision of training."""
STATISTICS_IMAGES = 10_000
"""The most image files that the mean and the principal colours are taken from."""


def _bound(holds: Callable[[Any], object], words: str) -> dict[str, Any]:
    return {"bound": (holds, words)}


def above_zero(most: float) -> dict[str, Any]:
    """The metadata of a key whose number is above zero, up to `most`."""
    return _bound(lambda value: 0 < value <= most, f"a number above zero, up to {most}")


def from_zero(most: float) -> dict[str, Any]:
    """The metadata of a key whose number is from zero to `most`."""
    return _bound(lambda value: 0 <= value <= most, f"zero or a number above it, up to {most}")


MANY = 1_000_000_000
"""More than this of anything that is counted is a slip of the keyboard."""
HALVINGS = 5
"""How often each net of Table 1 halves its maps, once a block: 224 pixels become 7 cells."""
CLASSES = _bound(lambda value: 2 <= value <= 1_000_000, "two classes or more, up to 1000000")
HOLDOUT = _bound(lambda value: 0 < value < 0.5, "a share between 0 and 0.5")
SEVERAL = _bound(lambda value: 2 <= value <= MANY, "two images or more")
BAD_IMAGES = _bound(lambda value: value in ("error", "skip"), "error or skip")
WORKERS = _bound(re.compile(r"auto|\d{1,3}").fullmatch, "auto or a number below 1000")
SHARE = _bound(lambda value: 0 <= value < 1, "zero or a number above it, below one")


@dataclass
class Arch:
    """A net as Table 1 writes it: blocks of layers, each ended by a pooling, then FC layers."""

    name: str
    blocks: list[list[str]]
    pool: str = "maxpool2/2"
    fc: list[str] = field(default_factory=lambda: ["FC-4096", "FC-4096", "FC-classes"])
    batch_norm: bool = False
    conv_bias: bool = True


DRAWS = (PARENT, NEW) = ("parent", "new")


@dataclass
class Scale:
    """Training scale S in paper pixels, drawn from [smin, smax] (Section 3.1)."""

    name: str
    smin: int = field(metadata=above_zero(4096))
    smax: int = field(metadata=above_zero(4096))
    parent: str | None = None
    """The scale whose finished net of the same configuration this one starts from."""
    lr_factor: float = field(default=1.0, metadata=above_zero(1000))
    """Learning rate as a share of the recipe's."""
    draws: str = PARENT
    """Of a run that starts from another: `parent`, as in that run's epoch of this number; `new`."""


@dataclass
class Size:
    """How large the experiment is: the paper's (224, 5, 1) or a scale model of it."""

    name: str
    crop: int = field(metadata=above_zero(1024))
    """Side of the training crop in pixels."""
    poolings: int = field(metadata=from_zero(HALVINGS))
    """How many of the net's five halvings are kept; the first ones are left out."""
    width: float = field(metadata=above_zero(8))
    """Multiplier of every layer's channels."""


@dataclass
class Data:
    """Where images come from and how they are split."""

    name: str
    channels: int
    mirror: bool
    classes: int | None = field(default=None, metadata=CLASSES)
    """Number of classes of the whole data set, as a check; None: as many as the folder has."""
    first_classes: int | None = field(default=None, metadata=CLASSES)
    """Take the images of the first so many classes only; None: of all."""
    root: str = "data"
    """Folder that holds the data set, or that it is downloaded into."""
    holdout: float = field(default=0.1, metadata=HOLDOUT)
    """Share of the training images held out for each set that the data does not bring."""
    split: int = field(default=0, metadata=from_zero(MANY))
    """Which random split, where the data set has no official one."""
    verify: bool = False
    """Decode every image once, before the first run on a folder that is there."""
    in_memory: bool = False
    """Decode every image once, at the start, and hold them all in memory; they are of one size."""
    on_device: bool = False
    """Hold the training images, in memory and of one size, on the device that trains, and make
    crops there, a batch at once; where S rescales them they differ in rounding."""
    enlarge: int | None = field(default=None, metadata=above_zero(8192))
    """Enlarge images whose smallest side has fewer pixels to so many first, so that no S and no Q
    is the file itself while others are resampled; None: take them as they are."""
    on_bad_image: str = field(default="error", metadata=BAD_IMAGES)
    """The fate of a file that cannot be decoded: `error` refuses the folder or ends the run; `skip`
    decodes all once before the first run, leaves the bad ones out, and says so in the report."""
    source: str | None = None
    """The entry of `repro/data/datasets.py` that reads it; None: the one called `name`."""
    test_only: bool = False
    """Only the test images are looked for, as published nets need them; `weights` sets it."""
    transfer: bool = False
    """All images are taken, for tests of descriptors (Appendix B); `test` sets it."""
    background: bool = True
    """Whether Caltech's background is a class where descriptors are tested, as in the paper."""
    boxes: bool = False
    """The images' boxes are read too; the run's `boxes` sets it."""


@dataclass
class Recipe:
    """How a net is trained (Section 3.1)."""

    name: str
    batch: int = field(metadata=above_zero(1_000_000))
    epochs: int = field(metadata=above_zero(1_000_000))
    optimiser: str
    learning_rate: float = field(metadata=above_zero(1e30))
    momentum: float = field(metadata=SHARE)
    weight_decay: float = field(metadata=from_zero(1000))
    dropout: float = field(metadata=SHARE)
    schedule: str
    patience: int = field(metadata=from_zero(1_000_000))
    """Plateau: epochs without a new best validation error before the rate is divided by ten."""
    drops: int = field(metadata=from_zero(1000))
    """Plateau: how often the rate is divided by ten; one more plateau stops the training."""
    warmup: int = field(metadata=from_zero(MANY))
    """Iterations over which the learning rate rises linearly from zero."""
    clip: float | None = field(metadata=above_zero(MANY))
    """Largest norm of the gradient; None: not clipped."""
    input_range: float = field(metadata=above_zero(65_535))
    """Largest input value before the mean is subtracted: 255 (the paper) or 1."""
    colour_shift: float = field(metadata=from_zero(1000))
    """Standard deviation of the PCA colour shift (0.1 in the paper; 0: none)."""
    init: str
    """The initialisation that this recipe was made with; `init` may choose another."""
    resize: str = "isotropic"
    """How an image is rescaled to S or Q: `isotropic` (the paper) or `square`, the shape lost."""
    subtract_mean: bool = True
    """Whether the training set's mean colour is subtracted from the input."""
    test_each_epoch: bool = False
    """Whether the error on the test images is logged after each epoch; it steers nothing."""
    train_images: int | None = field(default=None, metadata=SEVERAL)
    """Train on so many of the images at most, evenly spread; None: on all."""
    later_epochs: int | None = field(default=None, metadata=above_zero(1_000_000))
    """Epochs of a net that starts from that of another scale; None: `epochs`."""


TAKE_LAYERS = ("A-LRN", "B", "C", "D", "E")
"""The configurations that have a place for each layer of A that `init=from_A` copies."""


@dataclass
class Init:
    """How weights start."""

    name: str
    between: str
    """The distribution of the layers that are not copied from another net."""
    copy_from: str | None = None
    """The configuration whose layers are copied (`from_A`)."""


@dataclass
class Track:
    """Which viewer's live curves are written (see `repro.track`)."""

    name: str = "none"


@dataclass
class Config:
    """One run: everything in here that can change the result is part of the run's identity."""

    arch: Arch
    scale: Scale
    size: Size
    data: Data
    recipe: Recipe
    init: Init
    seed: int = field(default=0, metadata=from_zero(2**32 - 1))
    finetune: str = "all"
    boxes: str = "none"
    """Localisation (Appendix A): the boxes that a net learns, from its classification run."""
    precision: str = "float32"
    test_precision: str = AUTO
    """The precision of views, and a part of what a view is: `auto` is that of training, of bf16
    tf32. (In bf16 classes often tie, and a tie is an error.)"""
    test: list[str] = field(default_factory=lambda: ["single_scale", "multi_scale", "centre"])
    weights: str | None = None
    """A file of weights that others trained, or `torchvision:NAME`: the net is tested, not trained.
    The file's digest is part of the run's identity, its place is not. Where descriptors are tested
    also `random`, the net as its initialisation and seed have it; or a run's folder."""
    stack: str | None = None
    """The folder of a run on the same data: its descriptors are stacked with this run's."""
    weights_input: str | None = None
    """The input that these weights want; None: what their file tells."""
    device: str = "auto"
    compile: str = EAGER
    workers: str = field(default="auto", metadata=WORKERS)
    """Processes that decode image files; `auto`: cores less one, up to 16, of many files."""
    threads: int = field(default=2, metadata=above_zero(1024))
    progress: bool = True
    checkpoint_seconds: float = field(default=60.0, metadata=above_zero(MANY))
    test_batch: int = field(default=128, metadata=above_zero(1_000_000))
    micro_batch: int | None = field(default=None, metadata=above_zero(1_000_000))
    """Images of a training batch whose gradients a device computes at once; None: all of them."""
    channels_last: str = "auto"
    fast: bool = False
    """Whether cuDNN may take any algorithm, the fastest by trial; its results then vary."""
    track: Track = field(default_factory=Track)
    runs: str = "runs"
    dry_run: bool = False

    @property
    def starts_from_another(self) -> bool:
        """Whether its first weights are those of another run, or some of them."""
        return self.is_later_stage or self.init.copy_from is not None

    @property
    def locates(self) -> bool:
        """Whether its net gives boxes (Appendix A)."""
        return self.boxes != "none"

    @property
    def is_later_stage(self) -> bool:
        """Whether it goes on from a net that has learnt: of another S, or classification."""
        return self.scale.parent is not None or self.locates

    @property
    def lr_factor(self) -> float:
        """Its learning rate as a share of the recipe's; localisation has a tenth of it."""
        return 0.1 if self.locates else self.scale.lr_factor

    @property
    def usual_test_precision(self) -> str:
        """The precision in which it is validated, and tested where nothing else is asked for."""
        return "tf32" if self.precision == "bf16" else self.precision

    @property
    def views_in(self) -> str:
        """The precision in which its views are computed."""
        return self.usual_test_precision if self.test_precision == AUTO else self.test_precision

    @property
    def epochs(self) -> int:
        """How many epochs this run has, at most."""
        later = self.recipe.later_epochs
        return self.recipe.epochs if not self.is_later_stage or later is None else later
