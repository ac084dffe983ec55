"""What a finished run's net says of images: the best classes, and where in the image it sees them.

    python -m repro.predict run=runs/D-S256-... cat.jpg dog.png
    python -m repro.predict run=runs/D-S256-... test=multi_crop top=3 photos/*.jpg
    python -m repro.predict run=runs/D-S256-... out=heat cat.jpg

Images are JPEG, PNG and what else Pillow reads, of any size; they are decoded, rescaled and looked
at as the test images were.

    test=P        the protocol: single_scale (the default), multi_scale, multi_crop,
                  multi_crop_dense, centre, windows, windows_dense
    top=N         how many classes are shown: 5
    out=FOLDER    write a picture for each image there: the posterior of its best class, cell by
                  cell of the class score map, at several Q; overwrite=true replaces pictures
    data.root=F   where the run's data lies here, for the names of classes if the run lacks them
    device=D      auto, cpu, cuda

Exit status: 0 shown; 2 the request was wrong or an image is damaged; 75 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path

from repro.cli.way_in import way_in
from repro.config.words import read, show, truth, whole
from repro.errors import RequestError
from repro.release.command import MOST, required

DEFAULTS = {
    "run": "",
    "test": "single_scale",
    "top": "5",
    "out": "",
    "overwrite": "false",
    "data.root": "",
    "device": "auto",
}


def main() -> None:
    """The program."""
    sys.exit(way_in(__doc__, _predict))


def split(arguments: list[str]) -> tuple[dict[str, str], list[Path]]:
    """The options of a command line, and its images.

    Raises:
        RequestError: a word that is neither, or no image.
    """
    words = [word for word in arguments if word.partition("=")[0] in DEFAULTS]
    options = read(words, DEFAULTS)
    required(options, {"run": "runs/NAME"})
    images = [word for word in arguments if word not in words]
    for word in images:
        if not Path(word).is_file():
            known = ", ".join(f"{key}=" for key in DEFAULTS)
            raise RequestError(f"{word}: expected the file of an image, or one of {known}")
    if not images:
        raise RequestError("no image is named: give one or more, as in cat.jpg dog.png")
    return options, [Path(word) for word in images]


def _predict(arguments: list[str]) -> int:
    options, paths = split(arguments)
    top, overwrite = whole("top", options["top"], MOST), truth("overwrite", options["overwrite"])
    from repro.process.device import pick
    from repro.release import answers, heat
    from repro.release.classes import class_names
    from repro.release.trained import finished_run, opened

    run = finished_run(Path(options["run"]))
    answers.views_of(run, options["test"])
    device = pick(options["device"])
    out = heat.places(paths, Path(options["out"]), overwrite) if options["out"] else []
    answers.check_images(paths, run.config.data.channels)
    classes = class_names(run, options["data.root"] or None)
    with opened(run, device) as trained:
        found = answers.posteriors(trained, paths, options["test"])
        show(f"{run.name}, {options['test']}")
        show(answers.table(paths, found, classes, top))
        for path, place, row in zip(paths, out, found.posteriors, strict=False):
            label = int(row.argmax())
            heat.draw(trained, path, place, label, classes[label])
            show(f"drawn: {place}")
    return 0


if __name__ == "__main__":
    main()
