"""A network goes out as one file and comes back the same; a file that is not ours is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.config import to_mapping
from pipeline.errors import ArtifactError
from pipeline.models.heads import Classifier
from pipeline.models.regnet import RegNet
from pipeline.released import safetensors
from pipeline.released.safetensors import Network

MODEL = RegNet.Config(size="custom", widths=(16, 32), depths=(1, 1), strides=(2, 2), mean=(0.5, 0.5, 0.5))
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("classes", [[], ["cat", "dog", "émeu"]])
def test_a_network_comes_back_as_it_went_out(tmp_path: Path, classes: list[str]) -> None:
    network = Network(MODEL.build(), Classifier(32, len(classes)) if classes else None)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 2.0)
    description = {"model": to_mapping(MODEL), "classes": classes, "lineage": {"stage": "pretrain"}}
    safetensors.save(network, tmp_path / "m.safetensors", description)
    loaded = safetensors.load(tmp_path / "m.safetensors")
    assert loaded.backbone.mean == (0.5, 0.5, 0.5)
    assert torch.equal(loaded(IMAGES), network.eval()(IMAGES))
    assert safetensors.describe(tmp_path / "m.safetensors") == description


def test_another_file_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"not this")
    with pytest.raises(ArtifactError, match="is no safetensors file"):
        safetensors.load(tmp_path / "a.safetensors")
    with pytest.raises(ArtifactError, match="is no safetensors file"):
        safetensors.load(tmp_path / "missing.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(ArtifactError, match="does not say how to build its network"):
        safetensors.load(tmp_path / "b.safetensors")
