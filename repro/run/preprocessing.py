"""The net of a file tested by other ways of preprocessing, on a share of the test images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from tqdm import tqdm

from repro.model.layers import rounding_down
from repro.model.vgg import VGG
from repro.protocol.preprocessing import Way, key, view, wanted
from repro.run.setup import Setup
from repro.run.views import compute
from repro.store import varied
from repro.store.expected import ListedImages
from repro.store.ranks import Kept, Ranks, encode
from repro.store.views import mean


@dataclass
class Varied:
    """The ways that are still to be computed for one run."""

    stage: Setup
    net: VGG
    """With its weights, in evaluation mode, on the stage's device."""
    kept: dict[str, Ranks] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stage = self.stage
        self.test = stage.source.test.spread(stage.request.config.preprocessing_images)
        self.images = ListedImages.of(self.test.ids, self.test.labels).short
        # The same weights in a net of other poolings, not copied.
        with torch.device("meta"):
            self.down = VGG(rounding_down(self.net.spec), 0.0).eval()
        self.down.load_state_dict(self.net.state_dict(), assign=True)

    def finish(self) -> None:
        """Compute each way that is missing and keep it."""
        stage, config = self.stage, self.stage.request.config
        self.kept = stage.world.decided_by_first(self._there)
        missing = [(way, kind) for way, kind in wanted() if key(way, kind) not in self.kept]
        bar = tqdm(missing, unit="way", disable=not config.progress or None)
        for way, kind in bar:
            bar.set_description(f"{config.arch.name} {key(way, kind)}")
            stage.world.check_stop(stage.stop)
            self.kept[key(way, kind)] = self._ranks(way, kind)
            content = encode(Kept(self.net.spec.classes, self.images, self.kept))
            stage.folder.write(varied.file_name(len(self.test.ids)), content)

    def _there(self) -> dict[str, Ranks]:
        """What an earlier command left, of the same images."""
        found = varied.read(self.stage.request.folder, len(self.test.ids))
        return dict(found.ranks) if found is not None and found.images == self.images else {}

    def _ranks(self, way: Way, kind: str) -> Ranks:
        stage = self.stage
        rescaling = replace(way.rescaling, square=stage.rescaling.square)
        posteriors = compute(
            self.down if way.pool_down else self.net,
            view(kind, stage.request.config.scale),
            self.test,
            stage.prepare,
            replace(stage.evaluation, rescaling=rescaling),
        )
        return Ranks.of(mean([posteriors]))
