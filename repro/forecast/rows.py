"""What each run of a sweep would still cost, parents first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from repro.config.schema import Config
from repro.data.sizes import Assumed
from repro.data.split import Counts
from repro.errors import RequestError
from repro.forecast.speed import Rate, measured, said
from repro.model import memory, work
from repro.model.cost import cost
from repro.run.device import pick
from repro.run.request import Request, base_data, members, resolve
from repro.store.runs import LOG, Started, started

HOUR = 3600


@dataclass(frozen=True)
class Row:
    """A run and what it would still cost; a finished one costs nothing."""

    request: Request
    label: str
    """What tells the run from the others, as in `D-S256`."""
    starts_from: str
    """The labels of its parents."""
    images: Counts
    iterations: int
    """Still to be done, at most."""
    memory: memory.Memory
    training: int
    """Floating point operations, the error on the validation images after each epoch included."""
    testing: int
    """Floating point operations of the views that are missing."""
    rate: Rate | None
    """None where nothing is to be done."""

    @property
    def training_hours(self) -> float:
        """Hours that training takes, at most."""
        return self.training / self.rate.flops / HOUR if self.rate else 0.0

    @property
    def testing_hours(self) -> float:
        """Hours that the views take."""
        return self.testing / self.rate.flops / HOUR if self.rate else 0.0


class Forecast:
    """What can be said before anything is done, by what the user says and what a store holds."""

    def __init__(
        self, tflops: float | None, images: tuple[int, int, int] | None, classes: int | None
    ) -> None:
        """
        Args:
            tflops: 10^12 operations a second to reckon with; None: those of this machine.
            images: of training, validation and test; None: as many as are known of.
            classes: of the data; None: as many as are known of.
        """
        self.tflops, self.classes = tflops, classes
        self.images = None if images is None else Counts(*images)
        self._stores: dict[str, list[Started]] = {}
        self._known: dict[str, Request] = {}
        self._bar = tqdm(desc="reading configurations", unit="run", leave=False, disable=None)

    def check(self, config: Config) -> Request:
        """A configuration as a request, by what is known of its data; no data is looked at.

        Raises:
            RequestError: it cannot be done as written, or not here, where it is to be timed.
        """
        if config.weights is not None:
            raise RequestError(
                f"weights={config.weights}: a published net is not trained, and plan reckons "
                "training: leave it out"
            )
        request = resolve(config, self._assumed(config).describe, self._known)
        for member in request.lineage():
            member.check_folder()
        if self.tflops is None:
            pick(config.device)
        self._bar.update()
        return request

    def rows(self, requests: Iterable[Request]) -> list[Row]:
        """What the runs would still cost, parents first."""
        self._bar.close()
        every = members(requests)
        todo = [request for request in every if not request.finished()]
        if self.tflops is not None:
            rates = {request.name: said(self.tflops) for request in todo}
        else:
            rates = measured(todo, [run for runs in self._stores.values() for run in runs])
        names = labels(every)
        return [self._row(request, names, rates.get(request.name)) for request in every]

    def _row(self, request: Request, names: dict[str, str], rate: Rate | None) -> Row:
        config, net = request.config, request.net
        images = self._assumed(config).images(base_data(config.data))
        train = min(images.train, config.recipe.train_images or images.train)
        looked_at = images.validation + (images.test if config.recipe.test_each_epoch else 0)
        epoch = train * work.training(net, config.finetune) + looked_at * cost(net).flops
        epochs = epochs_left(request)
        views = [] if request.finished() else request.missing_views()
        return Row(
            request,
            names[request.name],
            ", ".join(names[parent.name] for parent in request.parents.values()),
            images,
            epochs * -(-train // config.recipe.batch),
            memory.training(
                net, config.recipe, config.precision, config.finetune, config.micro_batch
            ),
            epochs * epoch,
            images.test * sum(work.view(net, view) for view in views),
            rate,
        )

    def _assumed(self, config: Config) -> Assumed:
        if config.runs not in self._stores:
            self._stores[config.runs] = started(Path(config.runs))
        return Assumed(self.images, self.classes, self._stores[config.runs])


def epochs_left(request: Request) -> int:
    """Epochs that a run has still to train: at most, where a plateau may end it sooner."""
    match request.state():
        case "new":
            return request.config.epochs
        case "goes on":
            log = request.folder / LOG
            done = len(log.read_text(encoding="utf-8").splitlines()) - 1 if log.is_file() else 0
            return max(0, request.config.epochs - done)
        case _:
            return 0


def labels(requests: Sequence[Request]) -> dict[str, str]:
    """For the name of each run the words that tell it from the others."""
    varying = [group for group in ("size", "data", "recipe", "init") if _differ(requests, group)]
    seeds = len({request.config.seed for request in requests}) > 1
    precisions = len({request.config.precision for request in requests}) > 1
    found = {}
    for request in requests:
        config = request.config
        words = [config.arch.name, config.scale.name]
        words += [getattr(config, group).name for group in varying]
        words += ["fc"] if config.finetune == "fc" else []
        words += [config.precision] if precisions else []
        words += [f"s{config.seed}"] if seeds else []
        found[request.name] = "-".join(words)
    twice = {label for label, count in Counter(found.values()).items() if count > 1}
    return {name: name if label in twice else label for name, label in found.items()}


def _differ(requests: Sequence[Request], group: str) -> bool:
    return len({getattr(request.config, group).name for request in requests}) > 1
