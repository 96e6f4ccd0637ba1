"""Photographs, and crops of them with every parameter chosen by the test instead of drawn."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from pipeline.views.draw import VIEW
from pipeline.views.render import render, scratch_for

Box = tuple[int, int, int, int]
"""Top, left, height, width."""


def photographs() -> list[NDArray[np.uint8]]:
    """Three colour photographs that scikit-image ships, (height, width, 3)."""
    return [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]


def photograph(height: int, width: int, number: int = 0) -> NDArray[np.uint8]:
    """One of them, at any size."""
    # np.array: a read-only image would be another type to numba, and cost a second compilation.
    return np.array(Image.fromarray(photographs()[number]).resize((width, height), Image.Resampling.LANCZOS))


def encoded(pixels: NDArray[np.uint8], format: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **options)
    return out.getvalue()


def view_of(size: int, box: Box, **fields: Any) -> NDArray[Any]:
    """One VIEW record: a plain crop, but for the fields given."""
    view = np.zeros(1, VIEW)
    view["size"] = view["grid_height"] = view["grid_width"] = size
    view["top"], view["left"], view["height"], view["width"] = box
    view["order"] = (0, 1, 2, 3)
    view["brightness"] = view["contrast"] = view["saturation"] = 1
    for name, value in fields.items():
        view[name] = value
    return view


def crop(pixels: NDArray[np.uint8], view: NDArray[Any], reduction: int = 1) -> NDArray[np.uint8]:
    """The crop (size, size, 3) that the compiled code makes of a view."""
    size = int(view["size"][0])
    array = np.full((1, 1, size, size, 3), 123, np.uint8)
    height, width = pixels.shape[:2]
    scratch = scratch_for(size, view["sigma"][0], height, width, bool(view["bicubic"][0]))
    render(pixels, reduction, view, array, 0, scratch)
    return array[0, 0]


def coloured(pixels: NDArray[np.uint8], **fields: Any) -> NDArray[np.uint8]:
    """A square image at its own size, with nothing but its colours changed."""
    size = len(pixels)
    return crop(pixels, view_of(size, (0, 0, size, size), **fields))


def decibels(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Peak signal-to-noise ratio of two images of levels 0 ... 255."""
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return float(10 * np.log10(255**2 / max(error, 1e-12)))
