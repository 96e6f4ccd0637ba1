"""Colour on the device that trains: what photometric.py does to one crop, done to a batch of crops.

The draws are those of draw.py, so the choice between the two changes a crop by rounding and by nothing else. They stay
on the CPU: which crops an operation is for is known there, so each works on its own crops alone, and nothing waits for
the device. A batch costs one copy of row numbers and one of factors.

Bytes in, bytes out: objectives and `normalise` see what the loader would have given them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.views.draw import BRIGHTNESS, CONTRAST, HUE, SATURATION

LUMA = (0.299, 0.587, 0.114)
WHITE, MIDDLE, TINY = 255.0, 127.5, 1e-6


@torch.no_grad()
def colour(crops: Tensor, colours: NDArray[Any]) -> Tensor:
    """Crops with jitter, grayscale, blur and solarisation as drawn, in new memory, channels_last.

    crops: uint8 (views, batch, 3, S, S) on any device; colours: COLOURS records (views, batch).
    """
    draws = colours.reshape(-1)
    steps = [(step, operation) for step in range(4) for operation in _OPERATIONS]
    jittered = draws["jitter"] != 0
    chosen = [jittered & (draws["order"][:, step] == operation) for step, operation in steps]
    chosen += [draws["grayscale"] != 0, draws["sigma"] > 0, draws["solarise"] != 0]
    rows = [np.flatnonzero(which) for which in chosen]
    kernels = _gaussians(draws["sigma"][rows[-2]].astype(np.float64))
    factors = [draws[_OPERATIONS[operation][0]][which] for (_, operation), which in zip(steps, rows, strict=False)]
    on_device = _to_device(rows, crops.device)
    *strengths, weights = _to_device([*factors, kernels], crops.device)

    with torch.autocast(crops.device.type, enabled=False):  # bf16 has fewer levels than a byte
        images = crops.flatten(0, 1).to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        for (_, operation), which, strength in zip(steps, on_device, strengths, strict=False):
            _apply(images, which, _OPERATIONS[operation][1], strength.view(-1, 1, 1, 1))
        _apply(images, on_device[-3], grayscale)
        _apply(images, on_device[-2], blur, weights.view(-1, kernels.shape[1]))
        _apply(images, on_device[-1], solarise)
        done = images.add_(0.5).to(torch.uint8, memory_format=torch.channels_last)
    return done.view(*crops.shape)


def luma(images: Tensor) -> Tensor:
    """Grey level (N, 1, S, S), ITU-R 601."""
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (images * factor).clamp_(max=WHITE)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean grey level of each crop."""
    mean = luma(images).mean((2, 3), keepdim=True)
    return torch.lerp(mean, images, factor).clamp_(0, WHITE)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the grey level of each pixel."""
    return torch.lerp(luma(images), images, factor).clamp_(0, WHITE)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turned by `turn` of HSV's circle; the hue in sixths, then each colour as a clamped ramp of it."""
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    high, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = high - low
    inverse = 1 / (chroma + TINY)
    other = torch.where(high == green, 2 + (blue - red) * inverse, 4 + (red - green) * inverse)
    h = torch.where(high == red, (green - blue) * inverse, other).add_(6 * turn)
    h -= 6 * torch.floor(h / 6)
    ramps = ((h - 3).abs_() - 1, 2 - (h - 2).abs_(), 2 - (h - 4).abs_())
    return torch.cat([low + chroma * ramp.clamp_(0, 1) for ramp in ramps], 1)


def grayscale(images: Tensor) -> Tensor:
    return luma(images).expand_as(images)


def solarise(images: Tensor) -> Tensor:
    return torch.where(images >= MIDDLE, WHITE - images, images)


def blur(images: Tensor, weights: Tensor) -> Tensor:
    """A separable filter with repeated edges, as two products of matrices. weights: (N, 2 radius + 1)."""
    size = images.shape[-1]
    shifts = _shifts(size, weights.shape[1] // 2, images.device)
    filters = (weights @ shifts.flatten(1)).view(-1, 1, size, size)  # (N, 1, output, input)
    return filters @ images @ filters.transpose(2, 3)


_OPERATIONS: dict[int, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    BRIGHTNESS: ("brightness", brightness),
    CONTRAST: ("contrast", contrast),
    SATURATION: ("saturation", saturation),
    HUE: ("hue", hue),
}


def _apply(images: Tensor, rows: Tensor, change: Callable[..., Tensor], *parameters: Tensor) -> None:
    if len(rows):
        images.index_copy_(0, rows, change(images.index_select(0, rows), *parameters))


def _to_device(parts: list[NDArray[Any]], device: torch.device) -> tuple[Tensor, ...]:
    """One copy for all of them."""
    together = torch.from_numpy(np.concatenate([part.reshape(-1) for part in parts]))
    return torch.split(together.to(device, non_blocking=True), [part.size for part in parts])


def _gaussians(sigmas: NDArray[np.float64]) -> NDArray[np.float32]:
    """Normalised weights (N, 2 radius + 1), each cut at 3 of its own sigma; the radius is that of the widest."""
    reach = np.maximum(1, np.ceil(3 * sigmas))[:, None]
    radius = int(reach.max(initial=1))
    at = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (at / sigmas[:, None]) ** 2) * (np.abs(at) <= reach)
    weights /= weights.sum(1, keepdims=True)
    return weights.astype(np.float32)


@lru_cache(maxsize=16)
def _shifts(size: int, radius: int, device: torch.device) -> Tensor:
    """For each tap a matrix (output, input) that moves a line by it and repeats its ends: (taps, size, size)."""
    with torch.inference_mode(False):
        at = torch.arange(size)
        inputs = (at + torch.arange(-radius, radius + 1)[:, None]).clamp(0, size - 1)
        return torch.nn.functional.one_hot(inputs, size).float().to(device)
