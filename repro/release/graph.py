"""The net as an ONNX graph that carries its preprocessing and looks at images of any size."""

import warnings
from collections.abc import Mapping
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repro.errors import RequestError, RunError, one_line
from repro.model.dense import Dense
from repro.model.vgg import VGG
from repro.weights.contents import Convention

TOLERANCE = 1e-4
"""How far a posterior by onnxruntime may be from torch's; a score, by the largest score."""
DYNAMIC = {
    "images": {0: "N", 2: "height", 3: "width"},
    "posteriors": {0: "N"},
    "score_map": {0: "N", 2: "rows", 3: "columns"},
}


class Whole(nn.Module):
    """Decoded images, uint8 (N, C, H, W), to posteriors (N, classes) and the class score map."""

    def __init__(self, net: VGG, wanted: Convention) -> None:
        super().__init__()
        self.dense, self.wanted = Dense(net), wanted
        self.mean, self.std = (torch.tensor(v).view(1, -1, 1, 1) for v in (wanted.mean, wanted.std))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As dense evaluation has it (Section 3.2); one cell where an image is a crop."""
        # Testing's own steps write into views, which is not traced.
        ordered = images[:, [2, 1, 0]] if self.wanted.order == "BGR" else images
        values = (ordered.float() * (self.wanted.input_range / 255) - self.mean) / self.std
        score_map = self.dense(values)
        return score_map.mean(dim=(2, 3)).softmax(dim=1), score_map


def graph(net: VGG, wanted: Convention, says: Mapping[str, str]) -> tuple[bytes, float]:
    """The content of an ONNX file that carries `says`, and how far onnxruntime is from torch.

    `net` is on the CPU, in float32. RequestError: a package is missing. RunError: it is too far.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        said = f"format=onnx: {one_line(error)}"
        raise RequestError(f"{said}: pip install 'vgg-repro[onnx]'") from None
    whole = Whole(net, wanted).eval()
    with TemporaryDirectory() as folder, warnings.catch_warnings(), torch.inference_mode():
        # torch's newer exporter needs a further package; the net has nothing that this one lacks.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            whole,
            (_images(net, 2, 0),),
            f"{folder}/net.onnx",
            dynamo=False,
            # Otherwise batch normalisation goes into the convolutions, and the file is another net.
            training=torch.onnx.TrainingMode.PRESERVE,
            opset_version=17,
            input_names=["images"],
            output_names=["posteriors", "score_map"],
            dynamic_axes=DYNAMIC,
        )
        model = onnx.load_model(f"{folder}/net.onnx", load_external_data=False)
    onnx.helper.set_model_props(model, dict(says))
    content: bytes = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return content, _difference(session, whole, net)


def _difference(session: Any, whole: Whole, net: VGG) -> float:
    """How far the graph is from torch, on crops and on an image of another shape."""
    worst = 0.0
    for images in (_images(net, 3, 0), _images(net, 1, 17)):
        with torch.inference_mode():
            ours = [found.numpy() for found in whole(images)]
        theirs = session.run(["posteriors", "score_map"], {"images": images.numpy()})
        for here, there in zip(ours, theirs, strict=True):
            # Sure posteriors hide what scores show; these have no unit but their own size.
            off = np.abs(here - there).max() / max(1.0, np.abs(here).max())
            worst = float(np.maximum(worst, off))
    # Written so that what is not a number counts too.
    if not worst <= TOLERANCE:
        raise RunError(f"onnxruntime's answers are {worst:.1e} from torch's: nothing is written")
    return worst


def _images(net: VGG, count: int, more: int) -> Tensor:
    """Made-up images: smooth ones, so that they differ in more than noise."""
    random = torch.Generator().manual_seed(count)
    coarse = torch.rand(count, net.spec.channels, 5, 5, generator=random) * 255
    shape = (net.spec.crop + 2 * more, net.spec.crop + more)
    return nn.functional.interpolate(coarse, shape, mode="bilinear").to(torch.uint8)
