"""A reproduction suite for Simonyan & Zisserman (2014), arXiv:1409.1556, and its Python door.

    import repro

    run = repro.load("runs/D-S256-...")   # a finished run
    run.net(run.prepare(images))          # its net on grey levels, uint8 (N, C, H, W)
    run.config.recipe.batch, run.log      # its configuration, its epochs
    run.posteriors("dense-Q256")          # a stored view, (N, classes)
    repro.results("runs")                 # every number of a store or a report, tidy
    repro.layers("D").linears             # Table 1, as a list of layers

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    from repro.config.schema import Config
    from repro.model.layers import Spec
    from repro.model.vgg import VGG
    from repro.store.runs import Run
    from repro.store.views import Posteriors

try:
    __version__ = version("vgg-repro")
except PackageNotFoundError:
    # A checkout that is not installed.
    __version__ = "0"

__all__ = ["LoadedRun", "layers", "load", "results"]


@dataclass(frozen=True)
class LoadedRun:
    """A finished run: its net, how that takes images, and what is stored of it."""

    run: Run
    net: VGG
    """The trained net, an `nn.Module` in evaluation mode; it gives scores, (N, classes)."""
    prepare: Callable[[Tensor], Tensor]
    """Takes grey levels 0-255, uint8 (N, C, H, W), to the net's input on its device."""

    config: Config
    result: dict[str, Any]
    """How training ended: `result.json`."""
    log: pd.DataFrame
    """The training, a row for each epoch: rates, losses, errors in percent, images a second. Empty
    where the run has none, as of a net that others trained, or it is damaged."""
    views: list[str]
    """The names of the stored views, as in `dense-Q256-mirrored`."""

    def posteriors(self, view: str) -> NDArray[np.float32]:
        """Class posteriors of the test images in one view, (N, classes), in the order of `ids`."""
        return self._view(view).posteriors

    @property
    def labels(self) -> NDArray[np.int64]:
        """The classes of the test images, (N,)."""
        return self._first.labels

    @property
    def ids(self) -> NDArray[np.str_]:
        """The names of the test images, (N,)."""
        return self._first.ids

    @property
    def _first(self) -> Posteriors:
        """The first view that is whole: the images of all stand in one order."""
        from repro.errors import RequestError

        for name in self.views:
            with suppress(RequestError):
                return self._view(name)
        raise RequestError(f"{self.run.folder} has no view that is whole: give its command again")

    def _view(self, name: str) -> Posteriors:
        from repro.errors import RequestError
        from repro.protocol.protocols import View
        from repro.store.views import read

        if name not in self.views or (view := View.named(name)) is None:
            raise RequestError(f"{name} is not stored: expected one of {', '.join(self.views)}")
        return read(self.run.folder, view, self.run.tested)


def load(folder: str | Path, device: str = "cpu") -> LoadedRun:
    """Open the finished run of a folder, with its net on a device; a RequestError says why not.

    On a CUDA device the net then computes by torch's own settings: convolutions in tf32, unless
    `torch.backends.cudnn.allow_tf32` is false.
    """
    import pandas as pd

    from repro.release.trained import finished_run, opened
    from repro.report.measured import read_log
    from repro.run.device import pick
    from repro.store.views import files

    run = finished_run(Path(folder))
    log = pd.DataFrame() if (found := read_log(run)) is None else found
    views = sorted(file.stem for file in files(run.folder))
    with opened(run, pick(device)) as trained:
        return LoadedRun(run, trained.net, trained.prepare, run.config, run.result, log, views)


def results(*stores: str | Path) -> pd.DataFrame:
    """The numbers of all finished runs of stores or reports, a row each, as in `results.csv`."""
    import pandas as pd

    from repro.report.admitted import admitted, folder_of_runs
    from repro.report.write import parted, tidy

    own, others, transfers = parted(admitted([folder_of_runs(Path(store)) for store in stores]))
    frame = tidy([*own, *others], transfers)
    numbers = ["seed", "value", "paper"]
    frame[numbers] = frame[numbers].apply(pd.to_numeric, errors="coerce")
    return frame


def layers(arch: str, size: str = "paper", channels: int = 3, classes: int = 1000) -> Spec:
    """The layers of a configuration of `conf/arch/` at a size of `conf/size/`, without torch."""
    from repro.config.choices import choice
    from repro.config.schema import Arch, Size
    from repro.model import reading

    shape = Size(**choice("size", size))
    return reading.spec_of(Arch(**choice("arch", arch)), shape, channels=channels, classes=classes)
