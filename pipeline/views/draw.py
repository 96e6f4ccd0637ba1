"""What is drawn for a view: its box in the image, its flip and its colours.

A number is a pure function of (seed, epoch, sample index, view, slot): the first four are mixed into a key, the slot
counts what the number is for. So a view does not depend on threads, ranks, restarts, or the other views of a recipe,
and changing the odds of a blur leaves the boxes where they were.

- A `Law` says what a view may be, a `VIEW` record what it is; `draw_views` makes one of the other for an image.
- Boxes follow torchvision's RandomResizedCrop and colours its ColorJitter, as SwAV (Caron et al. 2020, appendix A) and
  BYOL (Grill et al. 2020, appendix B) use them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.views.kernel import Record, entry, kernel

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]
"""The filter of a resize, antialiased: Pillow's."""

LAW = np.dtype(
    [
        ("size", np.int64),
        ("scale", np.float64, (2,)),
        ("ratio", np.float64, (2,)),
        ("flip", np.float64),
        ("bicubic", np.int64),  # 0 or 1
        ("jitter", np.float64),
        ("ranges", np.float64, (4,)),  # of brightness, contrast, saturation, hue
        ("grayscale", np.float64),
        ("blur", np.float64),
        ("sigma", np.float64, (2,)),
        ("solarise", np.float64),
    ],
    align=True,
)
"""A `Law` as the compiled code sees it."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """What a view may be: ranges are drawn from uniformly, probabilities are independent of each other."""

    size: int
    """Side of the crop, pixels."""
    scale: tuple[float, float]
    """Area of the box, as a share of the image."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width / height of the box; its logarithm is uniform."""
    flip: float = 0.0
    interpolation: Interpolation = "bilinear"
    jitter: float = 0.0
    """Strength: a factor on the ranges."""
    jitter_ranges: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
    """Brightness, contrast, saturation: factors from max(0, 1 - x) to 1 + x. Hue: -x to x of the colour circle."""
    jitter_probability: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Pixels of the crop."""
    solarise: float = 0.0

    def record(self) -> tuple[Any, ...]:
        """The fields of LAW."""
        return (
            self.size,
            self.scale,
            self.ratio,
            self.flip,
            self.interpolation == "bicubic",
            self.jitter_probability if self.jitter > 0 else 0.0,
            tuple(self.jitter * width for width in self.jitter_ranges),
            self.grayscale,
            self.blur,
            self.blur_sigma,
            self.solarise,
        )


_COLOURS: list[Any] = [
    ("jitter", np.int64),  # 0 or 1: whether the next five count
    ("order", np.int64, (4,)),  # of BRIGHTNESS, CONTRAST, SATURATION, HUE
    ("brightness", np.float32),
    ("contrast", np.float32),
    ("saturation", np.float32),
    ("hue", np.float32),
    ("grayscale", np.int64),  # 0 or 1
    ("sigma", np.float32),  # of the blur, 0 for none
    ("solarise", np.int64),  # 0 or 1
]
VIEW = np.dtype(
    [
        ("size", np.int64),  # side of the crop, pixels
        ("top", np.float64),  # box in the upright image, pixels
        ("left", np.float64),
        ("height", np.float64),
        ("width", np.float64),
        ("grid_height", np.int64),  # the box is resized to this grid of pixels ...
        ("grid_width", np.int64),
        ("grid_top", np.int64),  # ... of which the crop is the window that starts here
        ("grid_left", np.int64),
        ("flip", np.int64),  # 0 or 1
        ("bicubic", np.int64),  # 0 or 1: bilinear where 0
        *_COLOURS,
    ],
    align=True,
)
"""One view as drawn: everything `render` needs to know about it."""
COLOURS = np.dtype(_COLOURS, align=True)
"""The end of a VIEW: what travels beside the crops where their colours are changed on the device."""

Reduction: TypeAlias = Literal[1, 2, 4, 8]
"""A JPEG can be decoded at 1 / this of its size."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)

_TRIES = 10
_FLIP, _JITTER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _ORDER = range(4 * _TRIES, 4 * _TRIES + 7)
_GRAYSCALE, _BLUR, _SIGMA, _SOLARISE = range(_ORDER + 3, _ORDER + 7)
"""Slots. The box has the first forty: area, ratio, top and left for each try."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@kernel
def mix(value: np.uint64, key: np.uint64) -> np.uint64:
    """`data_shards.splitmix.mix`, compiled."""
    x = value + key * _GAMMA + _GAMMA
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


@kernel
def view_key(seed: int, epoch: int, index: int, view: int) -> np.uint64:
    """Key of all numbers of one view: `data_shards.splitmix.key_of` of the four."""
    key = np.uint64(0)
    for part in (seed, epoch, index, view):
        key = mix(np.uint64(part), key)
    return key


@kernel
def uniform(key: np.uint64, slot: int) -> float:
    """The number of a slot, in [0, 1) with 53 bits: element `slot` of `data_shards.splitmix.uniform`."""
    return float(mix(np.uint64(slot), key) >> np.uint64(11)) * 2.0**-53


@kernel
def between(low: float, high: float, key: np.uint64, slot: int) -> float:
    return low + (high - low) * uniform(key, slot)


@kernel
def factor(width: float, key: np.uint64, slot: int) -> float:
    return between(max(0.0, 1 - width), 1 + width, key, slot)


@kernel
def draw_box(key: np.uint64, height: int, width: int, law: Record, view: Record) -> None:
    """RandomResizedCrop.get_params: ten tries at an area and a ratio, then the largest centred box of a legal ratio."""
    low, high = law.ratio[0], law.ratio[1]
    for trial in range(_TRIES):
        area = height * width * between(law.scale[0], law.scale[1], key, 4 * trial)
        ratio = math.exp(between(math.log(low), math.log(high), key, 4 * trial + 1))
        w = round(math.sqrt(area * ratio))
        h = round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            view.height, view.width = h, w
            view.top = int(uniform(key, 4 * trial + 2) * (height - h + 1))
            view.left = int(uniform(key, 4 * trial + 3) * (width - w + 1))
            return
    h, w = height, width
    if width / height < low:
        h = round(width / low)
    elif width / height > high:
        w = round(height * high)
    view.height, view.width = h, w
    view.top, view.left = (height - h) // 2, (width - w) // 2


@kernel
def draw_colours(key: np.uint64, law: Record, view: Record) -> None:
    """ColorJitter in a random order, then grayscale, blur and solarisation, each with its own odds."""
    view.jitter = uniform(key, _JITTER) < law.jitter
    view.brightness = factor(law.ranges[BRIGHTNESS], key, _BRIGHTNESS)
    view.contrast = factor(law.ranges[CONTRAST], key, _CONTRAST)
    view.saturation = factor(law.ranges[SATURATION], key, _SATURATION)
    view.hue = between(-law.ranges[HUE], law.ranges[HUE], key, _HUE)
    for i in range(4):
        view.order[i] = i
    for i in range(3, 0, -1):  # Fisher-Yates
        j = int(uniform(key, _ORDER + i - 1) * (i + 1))
        view.order[i], view.order[j] = view.order[j], view.order[i]
    view.grayscale = uniform(key, _GRAYSCALE) < law.grayscale
    view.sigma = between(law.sigma[0], law.sigma[1], key, _SIGMA) if uniform(key, _BLUR) < law.blur else 0.0
    view.solarise = uniform(key, _SOLARISE) < law.solarise


@entry
def draw_views(
    seed: int,
    epoch: int,
    index: int,
    height: int,
    width: int,
    laws: NDArray[Any],
    views: NDArray[Any],
) -> Reduction:
    """Draw every view of one upright image of `height` x `width` pixels into `views`.

    Returns the reduction at which a JPEG may be decoded: the greatest at which no box has fewer pixels than its crop.
    A rule twice as loose costs 12 dB.
    """
    density = 8.0
    for n in range(views.shape[0]):
        law, view = laws[n], views[n]
        key = view_key(seed, epoch, index, n)
        view.size = view.grid_height = view.grid_width = law.size
        view.grid_top = view.grid_left = 0
        draw_box(key, height, width, law, view)
        view.flip = uniform(key, _FLIP) < law.flip
        view.bicubic = law.bicubic
        draw_colours(key, law, view)
        density = min(density, view.height / law.size, view.width / law.size)
    return 8 if density >= 8 else 4 if density >= 4 else 2 if density >= 2 else 1
