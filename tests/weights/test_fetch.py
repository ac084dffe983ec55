"""torchvision's files: fetched once, whole, and only what torchvision publishes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torchvision.models import VGG16_Weights

from repro.errors import RequestError
from repro.weights.fetch import locate

FILE = VGG16_Weights.DEFAULT.url.rsplit("/", 1)[1]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "hub" / "checkpoints"


def test_it_is_fetched_by_torchvisions_address_and_hash_and_then_taken(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(url: str, place: str, prefix: str, progress: bool) -> None:
        asked.append((url, prefix))
        Path(place).write_bytes(b"weights")

    class Same:
        def hexdigest(self) -> str:
            return "397923af" + "0" * 56

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: Same())
    for _ in range(2):
        assert locate("torchvision:vgg16", progress=False) == cache / FILE
    assert asked == [(VGG16_Weights.DEFAULT.url, "397923af")]


def test_what_is_there_damaged_is_refused(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / FILE).write_bytes(b"half of it")
    with pytest.raises(RequestError, match=FILE):
        locate("torchvision:vgg16", progress=False)


def test_a_failed_download_and_an_unknown_net_are_a_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(RequestError, match="no route") as caught:
        locate("torchvision:vgg16", progress=False)
    assert "\n" not in str(caught.value)
    with pytest.raises(RequestError, match="resnet50|vgg19_bn"):
        locate("torchvision:resnet50", progress=False)
    with pytest.raises(RequestError, match="vgg16"):
        locate("torchvision:vgg16", progress=False, fetch=False)
