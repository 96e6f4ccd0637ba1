"""timm's names of sizes, and its preprocessing from the config beside the weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.models.regnet import RegNet
from pipeline.models.sizes import SIZES
from pipeline.released.architecture import ELSEWHERE
from pipeline.released.writers.timm import Timm, crop_share, named
from pipeline.views import Evaluation
from tests.pipeline.released.writers.releases import CLASSES, NAMED, grey, release, shown
from tests.pipeline.views.photographs import photograph

timm = pytest.importorskip("timm")


@pytest.mark.parametrize("size", [size for size in SIZES if size not in ("regnety_10b", "seer_10b")])
def test_a_size_is_what_timm_builds_by_that_name(size: str) -> None:
    name = named(RegNet.Config(size=size))
    theirs, ours = timm.models.regnet.model_cfgs[name], SIZES[size]
    assert (theirs.depth, theirs.w0, theirs.wa, theirs.wm, theirs.group_size, theirs.se_ratio) == ours
    assert (theirs.group_min_ratio, theirs.stem_width, theirs.bottle_ratio) == (0.0, 32, 1.0)


def test_torchvisions_other_widths_have_names_too() -> None:
    found = [named(model) for model in ELSEWHERE.values()]
    assert found == ["regnetx_004_tv", "regnety_008_tv", "regnety_080_tv", None]
    assert all(name in timm.models.regnet.model_cfgs for name in found[:3])


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (RegNet.Config(size="regnety_10b"), "none has these widths and depths"),
        (RegNet.Config(strides=(2, 2, 2, 1)), "none has strides [2, 2, 2, 1]"),
        (RegNet.Config(stem="cifar"), "none has a cifar stem"),
    ],
)
def test_what_timm_cannot_build_is_said(model: RegNet.Config, says: str) -> None:
    assert says in str(Timm().obstacle(model))


def test_the_crop_share_gives_back_every_size() -> None:
    for size in range(1, 400, 7):
        for resize in range(size, size + 200):
            share = crop_share(Evaluation.Config(size=size, resize=resize))
            assert math.floor(size / share) == resize
            assert share == pytest.approx(size / resize)


@pytest.mark.parametrize("how", [{}, {"keep_ratio": False}, {"interpolation": "bicubic"}])
def test_timm_sees_the_same_pixels(how: dict[str, Any], tmp_path: Path) -> None:
    view = Evaluation.Config(size=63, resize=72, **how)
    Timm().write(release(NAMED, CLASSES, view), tmp_path)
    model = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert model.pretrained_cfg["label_names"] == list(CLASSES)
    settings = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**settings, is_training=False)
    for height, width in ((375, 500), (500, 333), (101, 100)):
        pixels = photograph(height, width)
        found = grey(transform(Image.fromarray(pixels)).numpy(), NAMED)
        assert np.abs(shown(view, pixels) - found).max() <= 1.01


def test_the_config_is_plain_json(tmp_path: Path) -> None:
    Timm().write(release(RegNet.Config(size="regnety_200mf", stem_width=16), CLASSES), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "regnety_002"
    assert config["model_args"] == {"stem_width": 16}
    assert config["num_features"] == 368
