"""transformers: which networks it has, that its processor sees our pixels, and what opens a classifier's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.models.regnet import RegNet
from pipeline.released.writers.transformers import Transformers
from pipeline.views import Evaluation
from tests.pipeline.released.writers.releases import CLASSES, CUSTOM, grey, images, release, shown
from tests.pipeline.views.photographs import photograph

transformers = pytest.importorskip("transformers")


def network(**changes: object) -> RegNet.Config:
    settings: dict[str, object] = {"size": "custom", "widths": (16, 32), "depths": (1, 1), "strides": (2, 2)}
    return RegNet.Config(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (network(stem="cifar"), "has no cifar stem"),
        (network(strides=(2, 1)), "strides of 2 from the second stage on, and here they are [2, 1]"),
        (network(strides=(3, 2)), "here they are [3, 2]"),
        (network(squeeze=0.5), "squeeze is 0.5"),
        (network(squeeze=0.0), None),
        (network(strides=(1, 2)), None),
        (RegNet.Config(size="regnety_10b"), None),
        (network(widths=(8, 32), group_width=16), None),
    ],
)
def test_what_transformers_cannot_build_is_said(model: RegNet.Config, says: str | None) -> None:
    found = Transformers().obstacle(model)
    assert found is None if says is None else says in str(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Transformers().write(release(CUSTOM, CLASSES), tmp_path)
    return tmp_path


def test_a_classifiers_folder_opens_as_a_backbone_too(folder: Path) -> None:
    model = transformers.RegNetModel.from_pretrained(folder).eval()
    with torch.no_grad():
        features = model(images()).pooler_output.flatten(1)
        expected = release(CUSTOM).network(images())
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)


def test_the_auto_classes_find_the_network_and_its_classes(folder: Path) -> None:
    model = transformers.AutoModelForImageClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "cat", 1: "dog", 2: "émeu"}
    assert model.config.label2id["émeu"] == 2


@pytest.mark.parametrize("how", [{}, {"keep_ratio": False}, {"interpolation": "bicubic"}])
@pytest.mark.parametrize("backend", ["torchvision", "pil"])
def test_its_processor_sees_the_same_pixels(how: dict[str, Any], backend: str, tmp_path: Path) -> None:
    view = Evaluation.Config(size=64, resize=72, **how)
    Transformers().write(release(CUSTOM, (), view), tmp_path)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend=backend)
    for height, width in ((375, 500), (500, 333), (128, 128), (101, 100)):
        pixels = photograph(height, width)
        found = grey(np.asarray(processor(Image.fromarray(pixels))["pixel_values"][0]), CUSTOM)
        assert np.abs(shown(view, pixels) - found).max() <= 1.01


def test_where_an_odd_number_of_pixels_is_cut_off_its_crop_begins_one_pixel_earlier(tmp_path: Path) -> None:
    view = Evaluation.Config(size=64, resize=71)  # 3.5 pixels on each side: torchvision rounds to 4, it to 3
    Transformers().write(release(CUSTOM, (), view), tmp_path)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    pixels = photograph(213, 213)
    found = grey(np.asarray(processor(Image.fromarray(pixels))["pixel_values"][0]), CUSTOM)
    ours = shown(view, pixels).astype(np.float64)
    assert np.abs(ours - found).max() > 10
    assert np.abs(ours[:-1, :-1] - found[1:, 1:]).max() <= 1.01
