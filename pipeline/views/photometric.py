"""Colour on the three float planes of a crop: jitter, grayscale, blur, solarisation; values 0 ... 255, unrounded.

The operations and their order are SwAV's and BYOL's; each is what torchvision defines on float images.

- `jitter` makes two sweeps, because contrast needs the mean of the picture as it is at that point of the random order:
  the first does what comes before contrast and sums the grey levels, the second does the rest. Both work in chunks
  that stay in the first-level cache while several operations pass over them.
- A grey crop keeps one plane from there on.
- `blur` is a separable Gaussian cut at 3 sigma (Pillow's is an approximation by box blurs), edges repeated.
"""

from __future__ import annotations

import math

import numpy as np

from pipeline.views.draw import BRIGHTNESS, CONTRAST, SATURATION
from pipeline.views.kernel import Floats, Record, kernel
from pipeline.views.offsets import U0, U1, U2, U3, U4, U5, U6, U7, U8, U9, U10, U11, U12, Offset

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
    """Centre and right half of a normalised Gaussian into `half`, then zeros; returns its radius, at least 1."""
    radius = max(1, math.ceil(3.0 * sigma))
    total = 0.0
    for k in range(radius + 1):
        half[k] = math.exp(-0.5 * k * k / (sigma * sigma))
        total += half[k] if k == 0 else 2.0 * half[k]
    for k in range(radius + 1):
        half[k] /= np.float32(total)
    for k in range(radius + 1, half.shape[0]):
        half[k] = F0
    return np.uint64(radius)


@kernel
def blur_columns(
    f: Floats, p: Offset, y: Offset, size: Offset, half: Floats, radius: Offset, line: Floats, o: Offset
) -> None:
    """Vertical sums of row y of the plane at p, into line[o : o + size]. Two rings of taps a sweep."""
    centre, last = p + y * size, size - U1
    for k in range(U1, radius + U1, U2):
        w0, w1, w2 = half[U0], half[k], half[k + U1]
        a1, a2 = p + (y - min(y, k)) * size, p + (y - min(y, k + U1)) * size
        b1, b2 = p + min(y + k, last) * size, p + min(y + k + U1, last) * size
        if k == U1:
            for i in range(size):
                line[o + i] = w0 * f[centre + i] + w1 * (f[a1 + i] + f[b1 + i]) + w2 * (f[a2 + i] + f[b2 + i])
        else:
            for i in range(size):
                line[o + i] += w1 * (f[a1 + i] + f[b1 + i]) + w2 * (f[a2 + i] + f[b2 + i])


@kernel
def blur_row(line: Floats, size: Offset, half: Floats, radius: Offset, out: Floats, o: Offset, margin: Offset) -> None:
    """Horizontal sums of line[margin:], whose ends are repeated into its margins, into out[o : o + size].

    Taps stand at fixed distances from each other, up to radius 2 or 6 (sigma 2), zeros beyond the radius included: LLVM
    leaves a loop over shifts k, as the one for wider blurs at the end, without vectors and 6 times slower.
    """
    first, last = line[margin], line[margin + size - U1]
    for i in range(margin):
        line[i] = first
        line[margin + size + i] = last
    w0, w1, w2, w3, w4, w5, w6 = half[U0], half[U1], half[U2], half[U3], half[U4], half[U5], half[U6]
    c = margin - U6
    if radius <= U2:
        for i in range(size):
            j = c + i
            out[o + i] = w0 * line[j + U6] + w1 * (line[j + U5] + line[j + U7]) + w2 * (line[j + U4] + line[j + U8])
    else:
        for i in range(size):
            j = c + i
            out[o + i] = (
                w0 * line[j + U6]
                + w1 * (line[j + U5] + line[j + U7])
                + w2 * (line[j + U4] + line[j + U8])
                + w3 * (line[j + U3] + line[j + U9])
                + w4 * (line[j + U2] + line[j + U10])
                + w5 * (line[j + U1] + line[j + U11])
                + w6 * (line[j] + line[j + U12])
            )
    for k in range(U7, radius + U1):
        w1 = half[k]
        for i in range(size):
            out[o + i] += w1 * (line[margin - k + i] + line[margin + k + i])


@kernel
def blur(f: Floats, p: Offset, size: Offset, half: Floats, radius: Offset, line: Floats, out: Floats) -> None:
    """One plane of `f` into the same place of `out`."""
    margin = max(radius, U6)
    for y in range(size):
        blur_columns(f, p, y, size, half, radius, line, margin)
        blur_row(line, size, half, radius, out, p + y * size, margin)


@kernel
def solarise(f: Floats, p: Offset, length: Offset) -> None:
    """Inverts what is bright: as Pillow does for a threshold of 128 once levels are rounded."""
    for i in range(length):
        f[p + i] = WHITE - f[p + i] if f[p + i] >= MIDDLE else f[p + i]
