"""Keras's own nets, saved by Keras in each of its formats."""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

os.environ.setdefault("KERAS_BACKEND", "torch")
# It writes a file of settings there as it is imported.
os.environ.setdefault("KERAS_HOME", tempfile.gettempdir())
keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

from repro.errors import RequestError  # noqa: E402
from repro.weights.read import read  # noqa: E402
from tests.weights import conftest as files  # noqa: E402

SAVED = {"whole": "x.h5", "released": "x.h5", "weights": "x.weights.h5", "archive": "x.keras"}


def kerass(*before: Any, nested: bool = False) -> Any:
    """Keras's VGG16 with its layers and names, narrower; its features a net within, if asked."""
    keras.utils.set_random_seed(2)
    keras.backend.clear_session()
    conv = {"padding": "same", "activation": "relu", "bias_initializer": "random_uniform"}
    features = [keras.Input((files.CROP, files.CROP, 3)), *before]
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        width = int(min(512, 32 * 2**block) * files.WIDTH)
        names = [f"block{block}_conv{place}" for place in range(1, count + 1)]
        features += [keras.layers.Conv2D(width, 3, name=name, **conv) for name in names]
        features.append(keras.layers.MaxPooling2D(2, 2, name=f"block{block}_pool"))
    hidden = int(4096 * files.WIDTH)
    top = [
        keras.layers.Flatten(name="flatten"),
        *(keras.layers.Dense(hidden, activation="relu", name=name) for name in ("fc1", "fc2")),
        keras.layers.Dense(files.CLASSES, name="predictions"),
    ]
    if nested:
        return keras.Sequential([keras.Sequential(features, name="vgg16"), *top])
    return keras.Sequential([*features, *top])


def said(model: Any, values: Tensor) -> Tensor:
    """What Keras's net says of values (N, 3, H, W)."""
    return torch.from_numpy(np.array(model.predict(values.permute(0, 2, 3, 1).numpy(), verbose=0)))


def save(model: Any, kind: str, folder: Path) -> Path:
    path = folder / SAVED[kind]
    (model.save_weights if kind == "weights" else model.save)(path)
    if kind == "released":
        # As vgg16_weights_tf_dim_ordering_tf_kernels.h5: what else is the whole net's, without it.
        with h5py.File(path, "r") as whole, h5py.File(folder / "released.h5", "w") as file:
            for name in whole["model_weights"]:
                whole.copy(f"model_weights/{name}", file)
            file.attrs["layer_names"] = whole["model_weights"].attrs["layer_names"]
        return folder / "released.h5"
    return path


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", SAVED)
def test_kerass_nets_say_the_same_here(kind: str, nested: bool, tmp_path: Path) -> None:
    model, net = kerass(nested=nested), files.spec()
    found, images = read(save(model, kind, tmp_path), net), files.photographs()
    # Keras's own preprocessing of its VGG16.
    rows = keras.applications.vgg16.preprocess_input(images.permute(0, 2, 3, 1).numpy() * 1.0)
    expected = said(model, torch.from_numpy(rows.copy()).permute(0, 3, 1, 2))
    assert files.same(files.scores(found, net, images), expected)
    # Shown in the other order, it is another answer: the comparison sees the order.
    assert not files.same(files.scores(found, net, images.flip(1)), expected)


@pytest.mark.parametrize("kind", ["whole", "archive"])
def test_preprocessing_within_the_net_is_asked_for(kind: str, tmp_path: Path) -> None:
    graded = keras.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.25, 0.25, 0.25])
    adapted = keras.layers.Normalization()
    adapted.adapt(np.random.default_rng(1).random((4, 8, 8, 3)))
    net, images = files.spec(), files.photographs()
    for layers in ((adapted,), (keras.layers.Rescaling(1 / 255), graded)):
        model = kerass(*layers)
        path = save(model, kind, tmp_path)
        with pytest.raises(RequestError, match=r"(re|norm)\w+, which .*weights_input="):
            read(path, net)
    found = read(path, net, "RGB:0..1:0.1/0.2/0.3:0.5")
    assert files.same(files.scores(found, net, images), said(model, images.float()))
