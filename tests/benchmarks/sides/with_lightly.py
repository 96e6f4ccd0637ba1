"""lightly's `SwaVTransform` on Pillow images; its defaults are the recipe. It normalises to floats as it does."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import torch
from lightly.transforms import SwaVTransform
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from tests.benchmarks.side import serve
from tests.benchmarks.sides.recipe import (
    BATCH,
    BLUR,
    CROPS,
    FLIP,
    GREY,
    HUE,
    JITTER,
    SIGMA,
    STRENGTH,
    files,
    load,
    loaded,
)


def transform_of(recipe: str) -> Any:
    """The recipe in lightly's words."""
    sizes, counts, scales = zip(*CROPS[recipe], strict=True)
    return SwaVTransform(
        crop_sizes=sizes,
        crop_counts=counts,
        crop_min_scales=[low for low, _ in scales],
        crop_max_scales=[high for _, high in scales],
        hf_prob=FLIP,
        cj_prob=JITTER,
        cj_strength=1.0,
        cj_bright=STRENGTH,
        cj_contrast=STRENGTH,
        cj_sat=STRENGTH,
        cj_hue=HUE,
        random_gray_scale=GREY,
        gaussian_blur=BLUR,
        sigmas=SIGMA,
    )


def views(source: str, recipe: str) -> int:
    """The crops of each image in memory; gives how many images."""
    transform = transform_of(recipe)
    for image in loaded(source):
        transform(Image.open(io.BytesIO(image)).convert("RGB"))
    return len(loaded(source))


class Folder(Dataset[Any]):
    """The files of a folder."""

    def __init__(self, source: str, recipe: str) -> None:
        self.paths, self.transform = files(source), transform_of(recipe)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        with open(self.paths[index], "rb") as file:
            return self.transform(Image.open(file).convert("RGB"))


@lru_cache
def loader_of(source: str, recipe: str) -> DataLoader[Any]:
    """One worker, which stays from round to round."""
    dataset = Folder(source, recipe)
    return DataLoader(dataset, BATCH, shuffle=True, num_workers=1, persistent_workers=True)


def batches(source: str, recipe: str) -> int:
    """Shuffled batches in this process, made by the worker; gives how many images."""
    return sum(len(batch[0]) for batch in loader_of(source, recipe))


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(load=load, views=views, batches=batches)
