"""torchvision on Pillow images, composed as SwAV and VISSL compose it for multi-crop; floats, normalised."""

from __future__ import annotations

import io
import random
from typing import Any

import torch
from PIL import Image, ImageFilter
from torchvision import transforms

from tests.benchmarks.side import serve
from tests.benchmarks.sides.recipe import BLUR, CROPS, FLIP, GREY, HUE, JITTER, MEAN, SIGMA, STD, STRENGTH, load, loaded


def blurred(image: Image.Image) -> Image.Image:
    """SwAV's PILRandomGaussianBlur."""
    if random.random() > BLUR:
        return image
    return image.filter(ImageFilter.GaussianBlur(random.uniform(*SIGMA)))


def transforms_of(recipe: str) -> list[Any]:
    """One transform for each crop."""
    colour = [
        transforms.RandomApply([transforms.ColorJitter(STRENGTH, STRENGTH, STRENGTH, HUE)], JITTER),
        transforms.RandomGrayscale(GREY),
        transforms.Lambda(blurred),
    ]
    found = []
    for size, count, scale in CROPS[recipe]:
        crop = [transforms.RandomResizedCrop(size, scale), transforms.RandomHorizontalFlip(FLIP)]
        after = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        found += [transforms.Compose([*crop, *colour, *after])] * count
    return found


def views(source: str, recipe: str) -> int:
    """The crops of each image in memory; gives how many images."""
    each = transforms_of(recipe)
    for image in loaded(source):
        picture = Image.open(io.BytesIO(image)).convert("RGB")
        for transform in each:
            transform(picture)
    return len(loaded(source))


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(load=load, views=views)
