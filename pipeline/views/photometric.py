"""Colour on the three float planes of a crop: jitter, grayscale, blur, solarisation; values 0 ... 255, unrounded.

The operations and their order are SwAV's and BYOL's; each is what torchvision defines on float images.

- `jitter` makes two sweeps, because contrast needs the mean of the picture as it is at that point of the random order:
  the first does what comes before contrast and sums the grey levels, the second does the rest. Both work in chunks
  that stay in the first-level cache while several operations pass over them.
- A grey crop keeps one plane from there on.
- A blur is a separable Gaussian cut at 3 sigma (Pillow's is an approximation by box blurs), edges repeated. `blur_line`
  works across lines: across columns while planes hold columns, then across rows once they are turned.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.views.draw import BRIGHTNESS, CONTRAST, SATURATION
from pipeline.views.kernel import Floats, Record, kernel
from pipeline.views.lanes import added, load, plus, store, zeros
from pipeline.views.offsets import U0, U1, U2, Offset
from pipeline.views.resample import LINE, plane

CHUNK = np.uint64(1024)
RED, GREEN, BLUE = np.float32(0.299), np.float32(0.587), np.float32(0.114)  # ITU-R 601 luma, as Pillow and torchvision
F0, F1, F2, F3, F4, F6 = (np.float32(n) for n in (0, 1, 2, 3, 4, 6))
SIXTH, TINY = np.float32(1 / 6), np.float32(1e-6)
WHITE, MIDDLE = np.float32(255), np.float32(127.5)


@kernel
def clip(value: np.float32) -> np.float32:
    return min(max(value, F0), WHITE)


@kernel
def brightness(f: Floats, r: Offset, g: Offset, b: Offset, length: Offset, factor: np.float32) -> None:
    for i in range(length):
        f[r + i] = min(f[r + i] * factor, WHITE)
        f[g + i] = min(f[g + i] * factor, WHITE)
        f[b + i] = min(f[b + i] * factor, WHITE)


@kernel
def contrast(f: Floats, r: Offset, g: Offset, b: Offset, length: Offset, factor: np.float32, mean: np.float32) -> None:
    """Away from the mean grey level of the whole crop."""
    shift = mean * (F1 - factor)
    for i in range(length):
        f[r + i] = clip(f[r + i] * factor + shift)
        f[g + i] = clip(f[g + i] * factor + shift)
        f[b + i] = clip(f[b + i] * factor + shift)


@kernel
def saturation(f: Floats, r: Offset, g: Offset, b: Offset, length: Offset, factor: np.float32) -> None:
    """Away from the grey level of each pixel."""
    rest = F1 - factor
    for i in range(length):
        red, green, blue = f[r + i], f[g + i], f[b + i]
        shift = (RED * red + GREEN * green + BLUE * blue) * rest
        f[r + i] = clip(red * factor + shift)
        f[g + i] = clip(green * factor + shift)
        f[b + i] = clip(blue * factor + shift)


@kernel
def hue(f: Floats, r: Offset, g: Offset, b: Offset, length: Offset, turn: np.float32) -> None:
    """Turned by `turn` of HSV's circle. No branches: the hue in sixths, then each colour as a clamped ramp of it."""
    sixths = F6 * turn
    for i in range(length):
        red, green, blue = f[r + i], f[g + i], f[b + i]
        high = max(red, max(green, blue))
        low = min(red, min(green, blue))
        chroma = high - low
        inverse = F1 / (chroma + TINY)
        from_red = (green - blue) * inverse
        from_green = F2 + (blue - red) * inverse
        from_blue = F4 + (red - green) * inverse
        h = (from_red if high == red else (from_green if high == green else from_blue)) + sixths
        h -= F6 * np.floor(h * SIXTH)
        f[r + i] = low + chroma * min(max(abs(h - F3) - F1, F0), F1)
        f[g + i] = low + chroma * min(max(F2 - abs(h - F2), F0), F1)
        f[b + i] = low + chroma * min(max(F2 - abs(h - F4), F0), F1)


@kernel
def grey_sum(f: Floats, r: Offset, g: Offset, b: Offset, length: Offset) -> np.float32:
    total = F0
    for i in range(length):
        total += RED * f[r + i] + GREEN * f[g + i] + BLUE * f[b + i]
    return total


@kernel
def grayscale(f: Floats, r: Offset, g: Offset, b: Offset, length: Offset) -> None:
    """Into the red plane alone."""
    for i in range(length):
        f[r + i] = RED * f[r + i] + GREEN * f[g + i] + BLUE * f[b + i]


@kernel
def jitter(f: Floats, room: Offset, length: Offset, view: Record) -> None:
    """Brightness, contrast, saturation and hue in the order of `view`, then grayscale if it is drawn."""
    turning_point = 0
    for k in range(4):
        if view.order[k] == CONTRAST:
            turning_point = k
    total, mean = 0.0, np.float32(0)
    for sweep in range(2):
        first, last = (0, turning_point) if sweep == 0 else (turning_point, 4)
        r = U0
        while r < length:
            n, g, b = min(CHUNK, length - r), r + room, r + room + room
            for k in range(first, last):
                operation = view.order[k]
                if operation == BRIGHTNESS:
                    brightness(f, r, g, b, n, view.brightness)
                elif operation == CONTRAST:
                    contrast(f, r, g, b, n, view.contrast, mean)
                elif operation == SATURATION:
                    saturation(f, r, g, b, n, view.saturation)
                else:
                    hue(f, r, g, b, n, view.hue)
            if sweep == 0:
                total += float(grey_sum(f, r, g, b, n))
            elif view.grayscale != 0:
                grayscale(f, r, g, b, n)
            r += n
        mean = np.float32(total / length)


@kernel
def gaussian(sigma: float, half: Floats) -> Offset:
    """Centre and right half of a normalised Gaussian into `half`; returns its radius, at least 1."""
    radius = max(1, math.ceil(3.0 * sigma))
    total = 0.0
    for k in range(radius + 1):
        half[k] = math.exp(-0.5 * k * k / (sigma * sigma))
        total += half[k] if k == 0 else 2.0 * half[k]
    for k in range(radius + 1):
        half[k] /= np.float32(total)
    return np.uint64(radius)


@kernel
def blur_line(
    f: Floats, p: Offset, line: Offset, size: Offset, half: Floats, radius: Offset, out: Floats, o: Offset
) -> None:
    """Line `line` of the plane at p, blurred across the lines beside it, the first and last repeated.

    Into out[o : o + size], and up to 31 floats beyond.
    """
    last = size - U1
    for i in range(U0, size, U2 * LINE):
        at = p + i
        centre = at + line * size
        a = plus(zeros(), half[U0], load(f, centre))
        b = plus(zeros(), half[U0], load(f, centre + LINE))
        for k in range(U1, radius + U1):
            before, after = at + (line - min(line, k)) * size, at + min(line + k, last) * size
            a = plus(a, half[k], added(load(f, before), load(f, after)))
            b = plus(b, half[k], added(load(f, before + LINE), load(f, after + LINE)))
        store(out, o + i, a)
        store(out, o + i + LINE, b)


@kernel
def blur_columns(f: Floats, size: Offset, channels: Offset, half: Floats, radius: Offset, out: Floats) -> None:
    """Planes of columns, blurred across them: the horizontal half of a blur."""
    room = plane(size)
    for p in range(U0, channels * room, room):
        for x in range(size):
            blur_line(f, p, x, size, half, radius, out, p + x * size)


@kernel
def solarise(f: Floats, p: Offset, length: Offset) -> None:
    """Inverts what is bright: as Pillow does for a threshold of 128 once levels are rounded."""
    for i in range(length):
        f[p + i] = WHITE - f[p + i] if f[p + i] >= MIDDLE else f[p + i]
