"""AlbumentationsX on OpenCV's decoder, bytes out as ours. Its crops are resized without antialiasing, its default."""

from __future__ import annotations

import albumentations as A
import cv2
import numpy as np

from tests.benchmarks.side import serve
from tests.benchmarks.sides.recipe import BLUR, CROPS, FLIP, GREY, HUE, JITTER, SIGMA, STRENGTH, load, loaded


def views(source: str, recipe: str) -> int:
    """The crops of each image in memory; gives how many images."""
    factors = (1 - STRENGTH, 1 + STRENGTH)
    colour = [
        A.HorizontalFlip(p=FLIP),
        A.ColorJitter(factors, factors, factors, (-HUE, HUE), p=JITTER),
        A.ToGray(p=GREY),
        A.GaussianBlur(sigma_range=SIGMA, p=BLUR),
    ]
    each = []
    for size, count, scale in CROPS[recipe]:
        each += [A.Compose([A.RandomResizedCrop((size, size), scale), *colour])] * count
    for image in loaded(source):
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB)
        for transform in each:
            transform(image=pixels)
    return len(loaded(source))


if __name__ == "__main__":
    cv2.setNumThreads(1)
    serve(load=load, views=views)
