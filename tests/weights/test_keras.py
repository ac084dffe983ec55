"""Keras's own nets, saved by Keras in each of its formats."""

from __future__ import annotations

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

CONVS = {"D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}
SAVED = {"whole": "x.h5", "weights": "x.weights.h5", "archive": "x.keras"}


def kerass(letter: str, *before: Any, nested: bool = False) -> Any:
    """Keras's VGG with its own layers and names, narrower; its features a net within, if asked."""
    keras.utils.set_random_seed(2)
    keras.backend.clear_session()
    image = maps = keras.Input((files.CROP, files.CROP, 3))
    for layer in before:
        maps = layer(maps)
    for block, count in enumerate(CONVS[letter], start=1):
        for place in range(1, count + 1):
            maps = keras.layers.Conv2D(
                int(min(512, 32 * 2**block) * files.WIDTH),
                3,
                padding="same",
                activation="relu",
                bias_initializer="random_uniform",
                name=f"block{block}_conv{place}",
            )(maps)
        maps = keras.layers.MaxPooling2D(2, 2, name=f"block{block}_pool")(maps)
    hidden = int(4096 * files.WIDTH)
    top = [
        keras.layers.Flatten(name="flatten"),
        *(keras.layers.Dense(hidden, activation="relu", name=name) for name in ("fc1", "fc2")),
        keras.layers.Dense(files.CLASSES, name="predictions"),
    ]
    if nested:
        return keras.Sequential([keras.Model(image, maps, name="vgg16"), *top])
    for layer in top:
        maps = layer(maps)
    return keras.Model(image, maps)


def said(model: Any, images: Tensor) -> Tensor:
    rows = images.permute(0, 2, 3, 1).numpy().astype(np.float32)
    # Keras's own preprocessing of its VGG16: BGR minus the mean pixel.
    graded = model.predict(keras.applications.vgg16.preprocess_input(rows), verbose=0)
    return torch.from_numpy(np.array(graded))


def save(model: Any, kind: str, folder: Path) -> Path:
    path = folder / SAVED.get(kind, "x.h5")
    if kind == "released":
        save_by_name(model, path)
    elif kind == "weights":
        model.save_weights(path)
    else:
        model.save(path)
    return path


def save_by_name(model: Any, path: Path) -> None:
    """The layout of `vgg16_weights_tf_dim_ordering_tf_kernels.h5`, with its names."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            values = layer.get_weights()
            names = [f"{layer.name}_{kind}_1:0".encode() for kind in "Wb"][: len(values)]
            group.attrs["weight_names"] = names
            for name, value in zip(names, values, strict=True):
                group[name.decode()] = value


@pytest.mark.parametrize(
    ("letter", "kind"), [("D", "released"), ("E", "released"), *(("D", kind) for kind in SAVED)]
)
def test_kerass_nets_say_the_same_here(letter: str, kind: str, tmp_path: Path) -> None:
    model, net, images = kerass(letter), files.spec(letter), files.photographs()
    found = read(save(model, kind, tmp_path), net)
    assert found.format == "Keras"
    assert files.same(files.scores(found, net, images), said(model, images))
    # Shown in the other order, it is another answer: the comparison sees the order.
    assert not files.same(files.scores(found, net, images.flip(1)), said(model, images))


@pytest.mark.parametrize("kind", SAVED)
def test_a_net_within_a_net_as_transfer_learning_has_it(kind: str, tmp_path: Path) -> None:
    model, net, images = kerass("D", nested=True), files.spec(), files.photographs()
    found = read(save(model, kind, tmp_path), net)
    assert files.same(files.scores(found, net, images), said(model, images))


@pytest.mark.parametrize("kind", ["whole", "archive"])
def test_preprocessing_within_the_net_is_asked_for(kind: str, tmp_path: Path) -> None:
    before = (
        keras.layers.Rescaling(1 / 255),
        keras.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.25, 0.25, 0.25]),
    )
    adapted = keras.layers.Normalization()
    adapted.adapt(np.random.default_rng(1).random((4, 8, 8, 3)))
    net, images = files.spec(), files.photographs()
    for layers in (before, (adapted,)):
        path = save(kerass("D", *layers), kind, tmp_path)
        with pytest.raises(RequestError, match=r"(re|norm)\w+, which .*weights_input="):
            read(path, net)
    model = kerass("D", *before)
    path = save(model, kind, tmp_path)
    found = read(path, net, "RGB:0..1:0.1/0.2/0.3:0.5")
    rows = images.permute(0, 2, 3, 1).numpy().astype(np.float32)
    expected = torch.from_numpy(np.array(model.predict(rows, verbose=0)))
    assert files.same(files.scores(found, net, images), expected)
