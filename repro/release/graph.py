"""The net as an ONNX graph that carries its preprocessing and looks at images of any size."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from repro.errors import RequestError, RunError, one_line
from repro.model.dense import Dense
from repro.model.vgg import VGG, LocalResponseNorm
from repro.weights.convention import Convention

OPSET = 17
TOLERANCE = 1e-4
"""How far a posterior by onnxruntime may be from torch's; a score, by the largest score."""
OTHER_SHAPE = (33, 17)
"""By how much an image is higher and wider than the crop, where the graph is tried on another."""
DYNAMIC = {
    "images": {0: "N", 2: "height", 3: "width"},
    "posteriors": {0: "N"},
    "score_map": {0: "N", 2: "rows", 3: "columns"},
}


class Whole(nn.Module):
    """Decoded images, uint8 (N, C, H, W), to posteriors (N, classes) and the class score map."""

    def __init__(self, net: VGG, wanted: Convention) -> None:
        super().__init__()
        self.dense = Dense(net)
        self.wanted = wanted
        self.scale = wanted.input_range / 255
        mean = [value / self.scale for value in wanted.mean]
        self.mean, self.std = (torch.tensor(v).view(1, -1, 1, 1) for v in (mean, wanted.std))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As dense evaluation has it (Section 3.2); one cell where an image is a crop."""
        values = images.float()
        if self.wanted.order == "BGR":
            values = values[:, [2, 1, 0]]
        values = (values - self.mean) * self.scale
        if set(self.wanted.std) != {1.0}:
            values = values / self.std
        score_map = self.dense(values)
        return score_map.mean(dim=(2, 3)).softmax(dim=1), score_map


class Normalised(nn.LocalResponseNorm):
    """Local response normalisation as the one operation that ONNX has for it."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        normalised: Tensor = _Normalised.apply(input, self.size, self.alpha, self.beta, self.k)
        return normalised


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
        return functional.local_response_norm(maps, size, alpha, beta, k)

    @staticmethod
    def symbolic(g: Any, maps: Any, size: int, alpha: float, beta: float, k: float) -> Any:
        made = g.op("LRN", maps, size_i=size, alpha_f=alpha, beta_f=beta, bias_f=k)
        return made.setType(maps.type())


def check_installed() -> None:
    """Refuse to go on without the packages that ONNX needs.

    Raises:
        RequestError: with how to install them.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise RequestError(
            f"format=onnx needs the packages onnx and onnxruntime ({one_line(error)}): "
            "pip install 'vgg-repro[onnx]'"
        ) from None


def graph(net: VGG, wanted: Convention, says: Mapping[str, str]) -> tuple[bytes, float]:
    """The content of an ONNX file, and how far onnxruntime is from torch with it.

    Args:
        net: in evaluation mode, on the CPU, in float32.
        wanted: the input that it wants.
        says: what the file carries as metadata.

    Raises:
        RunError: onnxruntime's posteriors are not torch's.
    """
    import onnx

    whole = Whole(_plain(net), wanted).eval()
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        torch.inference_mode(),
    ):
        file = Path(folder) / "net.onnx"
        # torch's newer exporter needs a further package; the net has nothing that this one lacks.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            whole,
            (_images(net, 2, (0, 0)),),
            file,
            dynamo=False,
            # Otherwise batch normalisation goes into the convolutions, and the file is another net.
            training=torch.onnx.TrainingMode.PRESERVE,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["posteriors", "score_map"],
            dynamic_axes=DYNAMIC,
        )
        model = onnx.load_model(file, load_external_data=False)
    onnx.helper.set_model_props(model, dict(says))
    content = model.SerializeToString()
    return content, _checked(content, whole, net)


def _plain(net: VGG) -> VGG:
    """The same net with layers that ONNX has operations for; it shares the weights."""
    with torch.device("meta"):
        plain = VGG(net.spec, 0)
    plain.load_state_dict(net.state_dict(), assign=True)
    for place, part in enumerate(plain.features):
        if isinstance(part, LocalResponseNorm):
            plain.features[place] = Normalised(part.size, part.alpha, part.beta, part.k)
    return plain


def _checked(content: bytes, whole: Whole, net: VGG) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for count, more in ((3, (0, 0)), (1, OTHER_SHAPE)):
        images = _images(net, count, more)
        with torch.inference_mode():
            ours = [found.numpy() for found in whole(images)]
        theirs: Any = session.run(["posteriors", "score_map"], {"images": images.numpy()})
        for here, there in zip(ours, theirs, strict=True):
            # Sure posteriors hide what scores show; these have no unit but their own size.
            off = np.abs(here - there).max() / max(1.0, np.abs(here).max())
            worst = float(np.maximum(worst, off))
    # Written so that what is not a number counts too.
    if not worst <= TOLERANCE:
        raise RunError(
            f"onnxruntime's answers are {worst:.1e} from torch's, above {TOLERANCE:g}: "
            "nothing is written"
        )
    return worst


def _images(net: VGG, count: int, more: tuple[int, int]) -> Tensor:
    """Made-up images: smooth ones, so that they differ in more than noise."""
    height, width = (net.spec.crop + pixels for pixels in more)
    random = torch.Generator().manual_seed(count)
    coarse = torch.rand(count, net.spec.channels, 5, 5, generator=random) * 255
    fine = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return fine.to(torch.uint8)
