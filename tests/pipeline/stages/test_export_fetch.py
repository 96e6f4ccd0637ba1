"""What export writes, fetch reads again: the same tensors, and what each format can say of pictures and classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.config import to_mapping
from pipeline.models.regnet import RegNet
from pipeline.released import backbones, safetensors
from pipeline.released.writers import WRITERS
from pipeline.stages import fetch
from pipeline.stages.stage import execute
from pipeline.views import Evaluation
from tests.pipeline.released.writers.releases import CLASSES, images, release

MODEL = RegNet.Config(size="regnety_200mf", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
VIEWS = {
    "cropped": Evaluation.Config(size=48, resize=55),
    "bicubic": Evaluation.Config(size=64, resize=64, interpolation="bicubic"),
    "warped": Evaluation.Config(size=48, resize=48, keep_ratio=False),
}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ours", {"classes", "mean", "view"}),
        ("timm", {"classes", "mean", "view"}),
        ("transformers", {"classes", "mean", "view"}),
        ("torchvision", set()),
        ("vissl", set()),
    ],
)
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_an_exported_network_is_fetched_as_it_was(
    name: str, says: set[str], view: Evaluation.Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, folder = release(MODEL, CLASSES, view), tmp_path / name
    folder.mkdir()
    if name == "ours":
        told = {"model": to_mapping(MODEL), "classes": CLASSES, "preprocessing": to_mapping(view)}
        safetensors.save(made.network, folder / "model.safetensors", told)
    else:
        WRITERS[name].write(made, folder)
    file = next(path for path in folder.iterdir() if path.suffix in (".safetensors", ".torch"))
    fetched = execute("fetch", fetch.Config(weights=str(file), out=str(tmp_path / "fetch")))
    backbone = backbones.load(fetched).eval()
    with torch.no_grad():
        assert torch.equal(backbone(images(side=64)), made.network.backbone(images(side=64)))
    assert len(fetched.facts["classes"]) == 3
    assert backbone.mean == (MODEL.mean if "mean" in says else RegNet.Config().mean)
    assert (tuple(fetched.facts["classes"]) == CLASSES) == ("classes" in says)
    assert (backbones.view(fetched) == view) == ("view" in says)
