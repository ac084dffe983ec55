"""Give a finished run's net to other programs: a weight file, and a model card beside it.

    python -m repro.export run=runs/D-S256-... format=torchvision out=vgg16.pth
    python -m repro.export run=runs/D-S256-... format=safetensors out=d.safetensors
    python -m repro.export run=runs/D-S256-... format=onnx out=d.onnx

    format=F      torchvision: a state dict (torchvision's vgg11, 13, 16, 19 take A, B, D, E at the
                  paper's size as it is); safetensors: the same, with the classes and the input
                  inside; onnx: a graph that takes decoded images of any size, checked against
                  onnxruntime before it is written (pip install 'vgg-repro[onnx]')
    out=FILE      nothing is written into a run's folder; overwrite=true replaces files
    data.root=F   where the run's data lies here, for the names of classes if the run lacks them

The card (FILE.md) says what input the net wants, how the file is loaded, the data, the recipe, the
errors, and where the run departs from the paper; the licence is for you to fill in.
Exit status: 0 written; 2 the request was wrong; 75 interrupted.
"""

import sys
from pathlib import Path

from repro.config.way_in import read, required, show, truth, way_in

DEFAULTS = {"run": "", "format": "", "out": "", "overwrite": "false", "data.root": ""}


def main() -> None:
    """The program."""
    sys.exit(way_in(__doc__, _export))


def _export(arguments: list[str]) -> int:
    options = read(arguments, DEFAULTS)
    required(options, run="runs/NAME", format="torchvision", out="vgg16.pth")
    overwrite = truth("overwrite", options["overwrite"])
    from repro.release.files import export

    run, out, root = Path(options["run"]), Path(options["out"]), options["data.root"] or None
    show("\n".join(export(run, options["format"], out, overwrite, root)))
    return 0


if __name__ == "__main__":
    main()
