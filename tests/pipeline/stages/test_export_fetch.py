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
CROPPED = Evaluation.Config(size=48, resize=55)
WARPED = Evaluation.Config(size=48, resize=48, interpolation="bicubic", keep_ratio=False)


@pytest.mark.parametrize(
    ("name", "view", "described"),
    [
        ("ours", WARPED, True),
        *(("timm", view, True) for view in (CROPPED, WARPED)),
        *(("transformers", view, True) for view in (CROPPED, WARPED)),
        ("torchvision", CROPPED, False),
        ("vissl", CROPPED, False),
    ],
)
def test_an_exported_network_is_fetched_as_it_was(
    name: str, view: Evaluation.Config, described: bool, tmp_path: Path
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
    assert (tuple(fetched.facts["classes"]) == CLASSES) == described
    assert backbone.mean == (MODEL if described else RegNet.Config()).mean
    assert (backbones.view(fetched) == view) == described
