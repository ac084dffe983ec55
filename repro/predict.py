"""What a trained net says of images: the best classes, and where in the image it sees them.

    python -m repro.predict run=runs/D-S256-... cat.jpg dog.png
    python -m repro.predict run=runs/D-S256-... test=multi_crop top=3 photos/*.jpg
    python -m repro.predict run=runs/D-S256-... out=heat cat.jpg
    python -m repro.predict weights=VGG_ILSVRC_16_layers.caffemodel arch=D cat.jpg
    python -m repro.predict weights=torchvision:vgg16 arch=D scale=S256 test=centre cat.jpg

The net is a finished run's, or that of a file of weights (docs/weights.md), without a run.
Images are JPEG, PNG and what else Pillow reads, of any size; they are decoded, rescaled and looked
at as the test images are.

    test=P        the protocol: single_scale (the default), multi_scale, multi_crop,
                  multi_crop_dense, centre, windows, windows_dense
    top=N         how many classes are shown: 5
    out=FOLDER    write a picture for each image there: the posterior of its best class, cell by
                  cell of the class score map, at several Q; overwrite=true replaces pictures
    device=D      auto, cpu, cuda

With run=:
    data.root=F   where the run's data lies here, for the names of classes if the run lacks them

With weights=, as repro.run takes them:
    arch=A        which net the file holds; it has to be said
    scale=S       the test scales are those of this S: jitter
    size=Z        paper; values within these three go too, as in size.width=0.5
    weights_input=I   caffe, torchvision or such as RGB:0..1: the input that the net wants;
                      else what its file tells

Exit status: 0 shown; 2 the request was wrong or an image is damaged; 75 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from repro.config.way_in import read, show, truth, way_in, whole
from repro.errors import RequestError
from repro.release.command import MOST, required

if TYPE_CHECKING:
    import torch

    from repro.release.trained import Trained

GROUPS = ("arch", "scale", "size")
"""What says which net a file holds and how it is tested; `size.width` and the like go too."""
OF_FILE = (*GROUPS, "weights_input")
DEFAULTS = {
    "run": "",
    "weights": "",
    "test": "single_scale",
    "top": "5",
    "out": "",
    "overwrite": "false",
    "data.root": "",
    **dict.fromkeys(OF_FILE, ""),
    "device": "auto",
}


@dataclass(frozen=True)
class Asked:
    """The net that is asked, not opened yet."""

    lines: tuple[str, ...]
    """What is said of it."""
    classes: tuple[str, ...]
    opened: AbstractContextManager[Trained]


def main() -> None:
    """The program."""
    sys.exit(way_in(__doc__, _predict))


def split(arguments: list[str]) -> tuple[dict[str, str], list[Path]]:
    """The options of a command line, and its images.

    Raises:
        RequestError: a word that is neither, no image, or not one net.
    """
    keys = {word: word.partition("=")[0] for word in arguments if "=" in word}
    known = DEFAULTS | {key: "" for key in keys.values() if key.partition(".")[0] in GROUPS}
    words = [word for word, key in keys.items() if key in known]
    options = read(words, known)
    _check_net(options)
    images = [word for word in arguments if word not in words]
    for word in images:
        if not Path(word).is_file():
            listed = ", ".join(f"{key}=" for key in DEFAULTS)
            raise RequestError(f"{word}: expected the file of an image, or one of {listed}")
    if not images:
        raise RequestError("no image is named: give one or more, as in cat.jpg dog.png")
    return options, [Path(word) for word in images]


def _check_net(options: Mapping[str, str]) -> None:
    if options["run"] and options["weights"]:
        raise RequestError("run= and weights= name two nets: give one of them")
    if not (options["run"] or options["weights"]):
        raise RequestError(
            "run= is missing: expected a word such as run=runs/NAME, or weights=FILE arch=D"
        )
    if options["weights"]:
        required(options, {"arch": "D"})
        refused = "data.root"
    else:
        refused = next((key for key in options if _of_file(key) and options[key]), "")
    if options.get(refused):
        beside = "run=" if options["weights"] else "weights="
        raise RequestError(f"{refused}={options[refused]} goes with {beside} only: leave it out")


def _of_file(key: str) -> bool:
    return key in OF_FILE or key.partition(".")[0] in GROUPS


def _predict(arguments: list[str]) -> int:
    options, paths = split(arguments)
    top, overwrite = whole("top", options["top"], MOST), truth("overwrite", options["overwrite"])
    from repro.release import answers, heat
    from repro.run.device import pick

    device = pick(options["device"])
    out = heat.places(paths, Path(options["out"]), overwrite) if options["out"] else []
    asked = (_of_run if options["run"] else _of_weights)(options, paths, device)
    with asked.opened as trained:
        found = answers.posteriors(trained, paths, options["test"])
        show("\n".join(asked.lines))
        show(answers.table(paths, found, asked.classes, top))
        for path, place, row in zip(paths, out, found.posteriors, strict=False):
            label = int(row.argmax())
            heat.draw(trained, path, place, label, asked.classes[label])
            show(f"drawn: {place}")
    return 0


def _of_run(options: Mapping[str, str], paths: list[Path], device: torch.device) -> Asked:
    from repro.release import answers
    from repro.release.classes import class_names
    from repro.release.trained import finished_run, opened

    run = finished_run(Path(options["run"]))
    answers.views_of(run.config, options["test"])
    answers.check_images(paths, run.config.data.channels)
    classes = class_names(run, options["data.root"] or None)
    return Asked((f"{run.name}, {options['test']}",), classes, opened(run, device))


def _of_weights(options: Mapping[str, str], paths: list[Path], device: torch.device) -> Asked:
    """A net of a file, in the configuration that `repro.run` would test it by."""
    from repro.config.composing import one, text
    from repro.config.schema import check_values
    from repro.protocol import protocols
    from repro.release import answers
    from repro.release.classes import names_of_file
    from repro.release.trained import opened_file
    from repro.run.weights import fix, read_alone

    given = {key: value for key, value in options.items() if value}
    words = [f"{key}={given[key]}" for key in given if key.partition(".")[0] in GROUPS]
    texts = [text(key, given[key]) for key in ("weights", "weights_input") if key in given]
    # Photographs, as the nets of most such files are made for.
    config = one(["data=imagenet", *words, *texts])
    check_values(config)
    fix(config)
    answers.views_of(config, options["test"])
    protocols.check(config.scale, [options["test"]], config.size.crop)
    answers.check_images(paths, config.data.channels)
    net, file, weights = read_alone(config)
    classes, said = names_of_file(weights.classes, net.classes)
    line = f"arch={config.arch.name}, {file.words}, {options['test']}"
    return Asked((line, said), classes, opened_file(config, net, weights, device))


if __name__ == "__main__":
    main()
