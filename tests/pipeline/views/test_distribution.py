"""Crops are distributed as torchvision's: moments and histograms, of each operation and of the whole.

Both sides draw for themselves, hundreds of crops of the same photographs; torchvision's are composed as SwAV, BYOL and
ImageNet training compose them, on Pillow images. Compared are histograms of levels, and the distribution over crops of
what describes one: mean and spread of each colour, chroma, sharpness. A second run of torchvision with another seed
says how much chance alone makes of it.

Pillow cuts off the fraction of a level after every operation and we round once, so our crops are about a level
brighter.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from scipy import stats
from torchvision import transforms as tv

from data_shards.batch import Draw
from pipeline.views import Crops, Labelled, MultiCrop, Pair, RandomViews, Views
from pipeline.views.colour import colour
from tests.pipeline.views.photographs import encoded, photograph

SIZE, COUNT = 32, 420
BOX = {"scale": (0.3, 1.0)}
PLAIN: dict[str, Any] = {"jitter": 0.0, "grayscale": 0.0, "blur": 0.0, "flip": 0.0}
Picture = Image.Image


def blurred(picture: Picture) -> Picture:
    return picture.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))


def solarised(picture: Picture) -> Picture:
    return ImageOps.solarize(picture, 128)


def sometimes(probability: float, change: Callable[[Picture], Picture]) -> Any:
    return tv.RandomApply([tv.Lambda(change)], probability)


def jittered(strength: float, ranges: tuple[float, float, float, float], probability: float) -> Any:
    return tv.RandomApply([tv.ColorJitter(*(strength * one for one in ranges))], probability)


def multicrop(**changes: Any) -> RandomViews:
    return MultiCrop.Config(crops=(Crops(count=1, size=SIZE, **BOX),), **changes).build()


SWAV, BYOL = (0.8, 0.8, 0.8, 0.2), (0.4, 0.4, 0.2, 0.1)
CASES: dict[str, tuple[RandomViews, int, list[Any]]] = {
    "box": (multicrop(**PLAIN), 0, []),
    "flip": (multicrop(**{**PLAIN, "flip": 0.5}), 0, [tv.RandomHorizontalFlip(0.5)]),
    **{
        operation: (
            multicrop(**{**PLAIN, "jitter": 1.0}, jitter_probability=1.0, jitter_ranges=one),
            0,
            [jittered(1.0, one, 1.0)],
        )
        for operation, one in {
            "brightness": (0.8, 0.0, 0.0, 0.0),
            "contrast": (0.0, 0.8, 0.0, 0.0),
            "saturation": (0.0, 0.0, 0.8, 0.0),
            "hue": (0.0, 0.0, 0.0, 0.2),
        }.items()
    },
    "grayscale": (multicrop(**{**PLAIN, "grayscale": 0.5}), 0, [tv.RandomGrayscale(0.5)]),
    "blur": (multicrop(**{**PLAIN, "blur": 1.0}), 0, [sometimes(1.0, blurred)]),
    "solarise": (multicrop(**PLAIN, solarise=0.5), 0, [sometimes(0.5, solarised)]),
    "multicrop": (
        multicrop(),
        0,
        [tv.RandomHorizontalFlip(), jittered(1.0, SWAV, 0.8), tv.RandomGrayscale(0.2), sometimes(0.5, blurred)],
    ),
    **{
        f"pair {view}": (
            Pair.Config(size=SIZE, **BOX).build(),  # type: ignore[arg-type]
            view,
            [
                tv.RandomHorizontalFlip(),
                jittered(1.0, BYOL, 0.8),
                tv.RandomGrayscale(0.2),
                sometimes((1.0, 0.1)[view], blurred),
                sometimes((0.0, 0.2)[view], solarised),
            ],
        )
        for view in (0, 1)
    },
    "labelled": (Labelled.Config(size=SIZE, **BOX).build(), 0, [tv.RandomHorizontalFlip()]),  # type: ignore[arg-type]
    "labelled with jitter": (
        Labelled.Config(size=SIZE, **BOX, jitter=0.5, grayscale=0.1).build(),  # type: ignore[arg-type]
        0,
        [tv.RandomHorizontalFlip(), jittered(0.5, SWAV, 0.8), tv.RandomGrayscale(0.1)],
    ),
}


@cache
def sources() -> list[NDArray[np.uint8]]:
    return [photograph(120, 160, number) for number in range(3)]


def ours(transform: RandomViews, view: int) -> NDArray[np.uint8]:
    """Crops (COUNT, SIZE, SIZE, 3) of one view."""
    arrays = transform.allocate(COUNT)
    images = [encoded(pixels, "BMP") for pixels in sources()]
    for row in range(COUNT):
        transform.write(images[row % 3], Draw(3, 0, row), arrays, row)
    return arrays[0][view]


def theirs(after: list[Any], seed: int) -> NDArray[np.uint8]:
    torch.manual_seed(seed)
    random.seed(seed)
    transform = tv.Compose([tv.RandomResizedCrop(SIZE, **BOX), *after])
    pictures = [Image.fromarray(pixels) for pixels in sources()]
    return np.stack([np.asarray(transform(pictures[row % 3])) for row in range(COUNT)])


def described(crops: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """What describes each crop."""
    pixels = crops.astype(np.float64)
    found = {
        "chroma": (pixels.max(-1) - pixels.min(-1)).mean((1, 2)),
        "across": np.abs(np.diff(pixels, axis=2)).mean((1, 2, 3)),
        "down": np.abs(np.diff(pixels, axis=1)).mean((1, 2, 3)),
        "left minus right": pixels[:, :, : SIZE // 2].mean((1, 2, 3)) - pixels[:, :, SIZE // 2 :].mean((1, 2, 3)),
    }
    for channel, name in enumerate(("red", "green", "blue")):
        found |= {
            f"mean of {name}": pixels[..., channel].mean((1, 2)),
            f"spread of {name}": pixels[..., channel].std((1, 2)),
        }
    return found


def distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Between the histograms of levels, in 32 steps, of each colour: the share of pixels that would have to move."""
    histograms = [
        [np.histogram(crops[..., channel], 32, (0, 256))[0] / crops[..., channel].size for channel in range(3)]
        for crops in (a, b)
    ]
    return float(np.abs(np.array(histograms[0]) - np.array(histograms[1])).sum(1).mean() / 2)


@pytest.mark.parametrize("case", CASES)
def test_crops_are_distributed_as_torchvisions(case: str) -> None:
    transform, view, after = CASES[case]
    mine, reference, again = ours(transform, view), theirs(after, 0), theirs(after, 1)
    for name, values in described(mine).items():
        expected = np.concatenate([described(run)[name] for run in (reference, again)])
        error = np.hypot(values.std() / np.sqrt(len(values)), expected.std() / np.sqrt(len(expected)))
        assert abs(values.mean() - expected.mean()) < 3.5 * error + 1.0, name  # a level for Pillow's cut-off fractions
        assert stats.ks_2samp(values, expected).pvalue > 0.001, name
    assert distance(mine, reference) < 2 * distance(again, reference) + 0.02


@pytest.mark.parametrize("case", ["multicrop", "pair 1"])
def test_a_change_of_the_odds_would_be_noticed(case: str) -> None:
    _, _, after = CASES[case]
    wrong = [step for step in after if not isinstance(step, tv.RandomApply)]
    mine, reference = described(theirs(wrong, 2)), described(theirs(after, 0))
    assert min(stats.ks_2samp(mine[name], reference[name]).pvalue for name in mine) < 1e-6


def test_colours_on_the_device_have_the_same_distribution() -> None:
    transform = multicrop(photometric="device")
    arrays = transform.allocate(COUNT)
    images = [encoded(pixels, "BMP") for pixels in sources()]
    for row in range(COUNT):
        transform.write(images[row % 3], Draw(3, 0, row), arrays, row)
    batch = type("", (), {"arrays": arrays, "indices": np.arange(COUNT), "labels": np.zeros(COUNT, np.int64)})
    views = Views.of(batch)  # type: ignore[arg-type]
    assert views.colours is not None
    done = colour(views.crops[0], views.colours)[0].permute(0, 2, 3, 1).numpy()
    reference = theirs(CASES["multicrop"][2], 0)
    for name, values in described(done).items():
        assert stats.ks_2samp(values, described(reference)[name]).pvalue > 0.001, name
