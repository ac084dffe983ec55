"""What a trained net says of images: the best classes and their posteriors.

    python -m repro.predict run=runs/D-S256-... cat.jpg dog.png
    python -m repro.predict run=runs/D-S256-... test=multi_crop top=3 photos/*.jpg
    python -m repro.predict weights=VGG_ILSVRC_16_layers.caffemodel arch=D cat.jpg
    python -m repro.predict weights=torchvision:vgg16 arch=D scale=S256 test=centre cat.jpg

The net is a finished run's, or that of a file of weights (docs/weights.md). Images are JPEG, PNG
and what else Pillow reads, of any size; they are looked at as the test images are.

    test=P        the protocol: single_scale (the default), multi_scale, multi_crop,
                  multi_crop_dense, centre, windows, windows_dense
    top=N         how many classes are shown: 5
    device=D      auto, cpu, cuda
    data.root=F   with run=: where its data lies here, for the names of classes if it lacks them

With weights=, as repro.run takes them: arch=A, which has to be said; scale=S (jitter) and size=Z
(paper), values within these three too, as in size.width=0.5; weights_input=I, caffe, torchvision or
such as RGB:0..1, the input that the net wants; else what its file tells; data.channels=1 for a net
of grey images.

Exit status: 0 shown; 2 the request was wrong or an image is damaged; 75 interrupted.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from repro.config.way_in import read, required, show, way_in, whole
from repro.errors import RequestError, RunError

if TYPE_CHECKING:
    import torch

    from repro.release.trained import Trained

Asked = tuple[str, tuple[str, ...], "AbstractContextManager[Trained]"]
"""The words about a net, the names of its classes, and the net, not opened yet."""
OF_FILE = ("arch", "scale", "size", "weights_input", "data.channels")
"""The words that say which net a file holds and how it is tested; `size.width` goes too."""
DEFAULTS = dict.fromkeys(("run", "weights", "data.root", *OF_FILE), "")
DEFAULTS |= {"test": "single_scale", "top": "5", "device": "auto"}


def main() -> None:
    """The program."""
    sys.exit(way_in(__doc__, _predict))


def split(arguments: list[str]) -> tuple[dict[str, str], list[Path]]:
    """The options of a command line, and its images; RequestError: a word is neither."""
    keys = {word: word.partition("=")[0] for word in arguments if "=" in word}
    known = DEFAULTS | {key: "" for key in keys.values() if _of_file(key)}
    words = [word for word, key in keys.items() if key in known]
    options, images = read(words, known), [word for word in arguments if word not in words]
    if bool(options["run"]) == bool(options["weights"]):
        raise RequestError("expected either run= or weights=, as in run=runs/NAME")
    refused = [key for key in options if _of_file(key)]
    if options["weights"]:
        required(options, arch="D")
        refused = ["data.root"]
    if wrong := [f"{key}={options[key]}" for key in refused if options[key]]:
        raise RequestError(f"{wrong[0]} goes with the other of run= and weights=: leave it out")
    for word in images:
        if not Path(word).is_file():
            raise RequestError(f"{word}: expected an image or one of {'=, '.join(DEFAULTS)}=")
    if not images:
        raise RequestError("no image is named: give one or more, as in cat.jpg dog.png")
    return options, [Path(word) for word in images]


def _of_file(key: str) -> bool:
    return key in OF_FILE or key.partition(".")[0] in OF_FILE


def _predict(arguments: list[str]) -> int:
    options, paths = split(arguments)
    top = whole("top", options["top"])
    from repro.release import answers
    from repro.run.device import pick
    from repro.run.memory import is_out_of_memory

    device = pick(options["device"])
    said, classes, opened = (_run if options["run"] else _file)(options, paths, device)
    try:
        with opened as trained:
            found = answers.posteriors(trained, paths, options["test"])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        why = "the net or an image is too large, or an image too narrow for Q"
        raise RunError(f"out of memory: {why}") from None
    show(f"{said}\n{answers.table(paths, found, classes, top)}")
    return 0


def _run(options: dict[str, str], paths: list[Path], device: torch.device) -> Asked:
    from repro.release import answers
    from repro.release.trained import finished_run, opened

    run = finished_run(Path(options["run"]))
    answers.check(run.config, paths, options["test"])
    classes = answers.class_names(run, options["data.root"] or None)
    return f"{run.name}, {options['test']}", classes, opened(run, device)


def _file(options: dict[str, str], paths: list[Path], device: torch.device) -> Asked:
    """A net of a file, in the configuration that `repro.run` would test it by."""
    from repro.config.composing import config_of, quoted_word
    from repro.config.values import check_values
    from repro.protocol import protocols
    from repro.release import answers
    from repro.release.trained import opened_file
    from repro.run.weights import fix, read_alone

    given = {key: value for key, value in options.items() if value}
    texts = [
        quoted_word(key, given.pop(key)) for key in ("weights", "weights_input") if key in given
    ]
    words = [f"{key}={value}" for key, value in given.items() if _of_file(key)]
    # Photographs, as the nets of most such files are made for.
    config = config_of(["data=imagenet", *words, *texts])
    check_values(config)
    fix(config)
    answers.check(config, paths, options["test"])
    protocols.check(config.scale, [options["test"]], config.size.crop)
    net, file, weights = read_alone(config)
    classes, said = answers.names_of_file(weights.classes, net.classes)
    line = f"arch={config.arch.name}, {file.words}, {options['test']}\n{said}"
    return line, classes, opened_file(config, net, weights, device)


if __name__ == "__main__":
    main()
