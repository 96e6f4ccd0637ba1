"""Colour, through the compiled code that ships: torchvision's float functions, scipy and Pillow are the references."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage

from tests.pipeline.views.photographs import coloured, decibels, photograph

ROUNDING = 0.55
"""Half a grey level, and a little because torchvision's weights of red, green and blue sum to 0.9999 on floats."""

OPERATIONS = [
    ("brightness", reference.adjust_brightness),
    ("contrast", reference.adjust_contrast),
    ("saturation", reference.adjust_saturation),
    ("hue", reference.adjust_hue),
]


def floats(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).double() / 255


def levels(image: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(image.permute(1, 2, 0) * 255)


def difference(ours: NDArray[np.uint8], theirs: NDArray[np.float64]) -> float:
    return float(np.abs(ours - theirs).max())


@pytest.mark.parametrize(
    ("operation", "factor"),
    [
        *((name, factor) for name in ("brightness", "contrast", "saturation") for factor in (0.0, 0.2, 0.7, 1.3, 1.8)),
        *(("hue", factor) for factor in (-0.5, -0.2, -0.03, 0.1, 0.2, 0.5)),
    ],
)
def test_each_operation_is_torchvisions(operation: str, factor: float) -> None:
    for number in range(3):
        pixels = photograph(61, 61, number)
        expected = levels(dict(OPERATIONS)[operation](floats(pixels), factor))
        assert difference(coloured(pixels, jitter=1, **{operation: factor}), expected) <= ROUNDING


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_operations_come_in_the_drawn_order(order: tuple[int, ...]) -> None:
    factors = {"brightness": 1.4, "contrast": 0.6, "saturation": 1.7, "hue": -0.15}
    pixels = photograph(48, 48, 1)
    image = floats(pixels)
    for number in order:
        name, function = OPERATIONS[number]
        image = function(image, factors[name])
    assert difference(coloured(pixels, jitter=1, order=order, **factors), levels(image)) <= ROUNDING


def test_the_mean_for_contrast_is_that_of_the_whole_crop() -> None:
    # Larger than the chunks the sweeps work in, and not a multiple of them.
    pixels = photograph(157, 157)
    expected = levels(reference.adjust_contrast(reference.adjust_hue(floats(pixels), 0.1), 0.3))
    assert difference(coloured(pixels, jitter=1, order=(0, 3, 1, 2), hue=0.1, contrast=0.3), expected) <= ROUNDING


@pytest.mark.parametrize("jitter", [0, 1])
def test_grayscale_is_torchvisions_and_comes_after_jitter(jitter: int) -> None:
    pixels = photograph(50, 50, 2)
    image = reference.adjust_hue(floats(pixels), 0.2) if jitter else floats(pixels)
    grey = coloured(pixels, jitter=jitter, hue=0.2, grayscale=1)
    assert (grey == grey[..., :1]).all()
    assert difference(grey, levels(reference.rgb_to_grayscale(image, 3))) <= ROUNDING


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.6, 1.0, 1.4, 2.0, 2.7, 4.0])
@pytest.mark.parametrize("size", [1, 3, 16, 75])
def test_blur_is_a_gaussian_cut_at_three_sigma(sigma: float, size: int) -> None:
    pixels = photograph(size, size)
    radius = max(1, int(np.ceil(3 * np.float32(sigma))))
    expected = pixels.astype(np.float64)
    for axis in (0, 1):
        expected = ndimage.gaussian_filter1d(expected, sigma, axis, mode="nearest", radius=radius)
    assert difference(coloured(pixels, sigma=sigma), expected) <= ROUNDING


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_is_close_to_pillows_approximation(sigma: float) -> None:
    pixels = photograph(120, 120, 1)
    theirs = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma)))
    assert decibels(coloured(pixels, sigma=sigma), theirs) > 44


def test_solarisation_is_pillows() -> None:
    pixels = photograph(64, 64)
    theirs = np.asarray(ImageOps.solarize(Image.fromarray(pixels), 128))
    np.testing.assert_array_equal(coloured(pixels, solarise=1), theirs)


def test_a_grey_crop_is_blurred_then_solarised() -> None:
    pixels = photograph(40, 40, 2)
    grey = levels(reference.rgb_to_grayscale(floats(pixels), 3))
    blurred = ndimage.gaussian_filter(grey, (1.3, 1.3, 0), mode="nearest", radius=4)
    expected = np.where(blurred >= 127.5, 255 - blurred, blurred)
    far = np.abs(blurred - 127.5) > 0.1  # beside the threshold a rounding decides
    ours = coloured(pixels, grayscale=1, sigma=1.3, solarise=1)
    assert np.abs(ours - expected)[far].max() <= ROUNDING


@pytest.mark.parametrize("level", [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 255), (1, 254, 128)])
def test_extremes_stay_within_a_byte(level: tuple[int, int, int]) -> None:
    pixels = np.empty((20, 20, 3), np.uint8)
    pixels[:] = level
    for factors in ((0.0, 0.0, 0.0, -0.5), (3.0, 3.0, 3.0, 0.5)):
        fields = dict(zip(("brightness", "contrast", "saturation", "hue"), factors, strict=True))
        image = floats(pixels)
        for (_, function), factor in zip(OPERATIONS, factors, strict=True):
            image = function(image, factor)
        assert difference(coloured(pixels, jitter=1, sigma=1.0, **fields), levels(image)) <= ROUNDING
