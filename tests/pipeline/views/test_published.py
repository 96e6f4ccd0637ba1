"""Pictures as published accuracies were measured on: as timm, torchvision and transformers show them, to one level."""

from __future__ import annotations

import io
import math
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.transforms as torchvisions
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import InterpolationMode
from transformers import ConvNextImageProcessor

from data_shards.batch import Draw
from pipeline.views import Evaluation
from tests.pipeline.views.photographs import encoded, photograph, photographs

IMAGENET = Path(__file__).parents[4] / "shared" / "data" / "imagenet-sample.tar"
"""Full-size ImageNet photographs, where this machine has them."""


def shown(image: bytes, **how: Any) -> np.ndarray:
    """The picture (size, size, 3) that a network is shown of an encoded image."""
    transform = Evaluation.Config(**how).build()
    arrays = transform.allocate(1)
    transform.write(image, Draw(0, 0, 0), arrays, 0)
    return arrays[0][0, 0].astype(int)


def opened(image: bytes) -> Image.Image:
    return Image.open(io.BytesIO(image)).convert("RGB")


def check(image: bytes, size: int, crop_pct: float, interpolation: str) -> None:
    resize = math.floor(size / crop_pct)
    ours = shown(image, size=size, resize=resize, interpolation=interpolation)
    picture, mode = opened(image), InterpolationMode(interpolation)
    theirs = torchvisions.Compose([torchvisions.Resize(resize, mode), torchvisions.CenterCrop(size)])(picture)
    assert np.abs(ours - np.asarray(theirs)).max() <= 1
    transform = create_transform((3, size, size), interpolation=interpolation, crop_pct=crop_pct, normalize=False)
    assert np.abs(ours - transform(picture).permute(1, 2, 0).numpy()).max() <= 1


def check_warp(image: bytes) -> None:
    """transformers gives RegNet ConvNeXT's processor, which from 384 pixels on crops nothing."""
    ours = shown(image, size=384, resize=384, interpolation="bicubic", keep_ratio=False)
    processor = ConvNextImageProcessor(size={"shortest_edge": 384}, do_rescale=False, do_normalize=False)
    theirs = processor(opened(image), return_tensors="pt")["pixel_values"][0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() <= 1


def shipped() -> list[bytes]:
    """Square, landscape, portrait, and smaller than any crop."""
    return [encoded(pixels, quality=92) for pixels in (*photographs(), photograph(500, 333, 2), photograph(96, 131))]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 0.965, 1.0])
@pytest.mark.parametrize("size", [224, 384])
def test_timm_and_torchvision_show_the_same_picture(size: int, crop_pct: float, interpolation: str) -> None:
    for image in shipped():
        check(image, size, crop_pct, interpolation)


def test_transformers_warps_to_the_same_picture() -> None:
    for image in shipped():
        check_warp(image)


@pytest.mark.skipif(not IMAGENET.exists(), reason="needs the photographs in ../shared")
def test_imagenets_photographs_look_the_same_in_all_libraries() -> None:
    with tarfile.open(IMAGENET) as tar:
        members = [member for member in tar if member.isfile()][::8]
        images = [file.read() for member in members if (file := tar.extractfile(member))]
    assert len(images) > 20
    for number, image in enumerate(images):
        size, crop_pct = ((224, 0.875), (384, 1.0), (224, 0.965), (384, 0.95))[number % 4]
        check(image, size, crop_pct, ("bilinear", "bicubic")[number // 4 % 2])
        if number % 4 == 0:
            check_warp(image)
