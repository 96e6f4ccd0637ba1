"""A box of an image, resized with antialiasing in one step: Pillow's bilinear filter to within one grey level.

The filter is separable: `weights` gives each output row (column) its first source row (column), the number of taps and
their weights. Then, for sixteen output rows at a time:

1. `vertical`    sums whole source rows, RGB RGB ..., into sixteen rows of floats; a strip of 64 floats a time
2. `transpose`   puts the sixteen rows side by side: for each colour of a pixel, sixteen floats that share their weights
3. `horizontal`  sums columns, sixteen lanes at once, and writes them into the red, green and blue planes

So planes hold columns, one after another. What is done to single pixels does not mind; `turn` makes rows of them when
all that is done.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pipeline.views.kernel import Floats, Offsets, Pixels, Record, kernel
from pipeline.views.lanes import LANES, load, load_bytes, plus, store, transpose, zeros
from pipeline.views.offsets import U0, U1, U2, U3, U8, Offset

f32 = np.float32
ZERO = f32(0)
LINE, STRIP = np.uint64(LANES), np.uint64(4 * LANES)


def floats(count: int) -> Floats:
    """Zeros that begin on a cache line: vector accesses that straddle lines cost about 15 %."""
    memory = np.zeros(4 * count + 63, np.uint8)
    begin = -memory.ctypes.data % 64
    return memory[begin : begin + 4 * count].view(np.float32)


class Axis(NamedTuple):
    """The filter along one axis, for up to `size` outputs of an image side of up to `length` pixels."""

    begin: Offsets
    """First source pixel of each output, counted from the begin of the box."""
    taps: Offsets
    """Number of source pixels of each output."""
    weights: Floats
    """Weights of the taps, a fixed number of places for each output."""

    @classmethod
    def of(cls, size: int, length: int) -> Axis:
        places = 2 * length + 5 * size  # size * (2 * ceil(scale) + 1), where scale is length / size or 1
        return cls(np.zeros(size, np.uint64), np.zeros(size, np.uint64), floats(places))


@kernel
def weights(start: float, length: float, limit: int, grid: int, first: int, count: int, axis: Axis) -> int:
    """Triangle filter of outputs first ... first + count of a resize of [start, start + length) to `grid` pixels.

    Taps stay inside [0, limit). Returns the places of one output in `axis.weights`. As Pillow's precompute_coeffs.
    """
    scale = length / grid
    support = max(scale, 1.0)
    slope = 1.0 / support
    places = math.ceil(support) * 2 + 1
    for n in range(count):
        centre = start + (first + n + 0.5) * scale
        begin = int(max(centre - support + 0.5, 0.0))
        taps = min(int(centre + support + 0.5), limit) - begin
        total = 0.0
        for k in range(taps):
            weight = max(1.0 - abs((begin + k - centre + 0.5) * slope), 0.0)
            axis.weights[n * places + k] = weight
            total += weight
        share = f32(1.0 / total)
        for k in range(taps):
            axis.weights[n * places + k] *= share
        axis.begin[n] = begin
        axis.taps[n] = taps
    return places


@kernel
def vertical(
    out: Floats, o: Offset, source: Pixels, s: Offset, stride: Offset, taps: Offset, w: Floats, k: Offset
) -> None:
    """out[o : o + STRIP] = sum over taps of w[k + tap] * source[s + tap * stride :]."""
    first = second = third = fourth = zeros()
    for tap in range(taps):
        weight = w[k + tap]
        first = plus(first, weight, load_bytes(source, s))
        second = plus(second, weight, load_bytes(source, s + LINE))
        third = plus(third, weight, load_bytes(source, s + U2 * LINE))
        fourth = plus(fourth, weight, load_bytes(source, s + U3 * LINE))
        s += stride
    store(out, o, first)
    store(out, o + LINE, second)
    store(out, o + U2 * LINE, third)
    store(out, o + U3 * LINE, fourth)


@kernel
def vertical_narrow(
    out: Floats,
    o: Offset,
    source: Pixels,
    s: Offset,
    stride: Offset,
    length: Offset,
    taps: Offset,
    w: Floats,
    k: Offset,
) -> None:
    """The same for fewer columns than a strip: nothing is read beside them, where the image may end."""
    for i in range(length):
        total = ZERO
        for tap in range(taps):
            total += w[k + tap] * f32(source[s + tap * stride + i])
        out[o + i] = total


@kernel
def horizontal(
    strips: Floats, x: Axis, places: Offset, size: Offset, flip: bool, planes: Floats, room: Offset, o: Offset
) -> None:
    """Sixteen rows of the crop, mirrored on demand: into the columns of three planes, from row o on."""
    begin, taps, weight = x.begin, x.taps, x.weights
    for column in range(size):  # in this order: where a crop is lower than 16, a column writes over the next
        n: Offset = size - U1 - column if flip else column
        j, k = begin[n] * U3 * LINE, n * places
        red = green = blue = zeros()
        for tap in range(taps[n]):
            w = weight[k + tap]
            red = plus(red, w, load(strips, j))
            green = plus(green, w, load(strips, j + LINE))
            blue = plus(blue, w, load(strips, j + U2 * LINE))
            j += U3 * LINE
        store(planes, o, red)
        store(planes, o + room, green)
        store(planes, o + room + room, blue)
        o += size


@kernel
def resample(
    source: Pixels,
    height: int,
    width: int,
    reduction: int,
    view: Record,
    x: Axis,
    y: Axis,
    strip: Floats,
    strips: Floats,
    planes: Floats,
) -> None:
    """The box of `view` in `source`, resized, as floats 0 ... 255 in three planes of columns.

    source: flat uint8 image of height x width x 3, decoded at 1 / reduction of the size that `view` speaks of.
    planes: flat, room for three planes of `plane(size)` floats.
    """
    # Pixel k of a reduced image covers pixels [k * reduction, (k + 1) * reduction) of the whole one.
    top, left = view.top / reduction, view.left / reduction
    box_height, box_width = view.height / reduction, view.width / reduction
    first_row, first_column = int(top), int(left)
    last_row = min(math.ceil(top + box_height), height)
    last_column = min(math.ceil(left + box_width), width)
    y_places = weights(top - first_row, box_height, last_row - first_row, view.grid_height, view.grid_top, view.size, y)
    x_places = weights(
        left - first_column, box_width, last_column - first_column, view.grid_width, view.grid_left, view.size, x
    )
    size, length, stride = np.uint64(view.size), np.uint64(3 * (last_column - first_column)), np.uint64(3 * width)
    corner, down = np.uint64(3 * (first_row * width + first_column)), np.uint64(y_places)
    for block in range(U0, size, LINE):
        row: Offset = min(block, size - LINE) if size > LINE else U0  # the last sixteen may overlap those before
        for at in range(U0, length, STRIP):
            column: Offset = min(at, length - STRIP) if length > STRIP else U0
            for r in range(LINE):
                n: Offset = min(row + r, size - U1)
                s = corner + y.begin[n] * stride + column
                if length < STRIP:
                    vertical_narrow(strip, r * STRIP, source, s, stride, length, y.taps[n], y.weights, n * down)
                else:
                    vertical(strip, r * STRIP, source, s, stride, y.taps[n], y.weights, n * down)
            for i in range(U0, STRIP, U8):
                o = (column + i) * LINE
                transpose(strip, i, STRIP, strips, o, LINE)
                transpose(strip, U8 * STRIP + i, STRIP, strips, o + U8, LINE)
        horizontal(strips, x, np.uint64(x_places), size, view.flip != 0, planes, plane(size), row)


@kernel
def turn(planes: Floats, size: Offset, channels: Offset, out: Floats) -> None:
    """Planes of columns into planes of rows."""
    room = plane(size)
    for p in range(U0, channels * room, room):
        for i in range(U0, size, U8):
            for j in range(U0, size, U8):
                column: Offset = min(i, size - U8) if size > U8 else U0
                row: Offset = min(j, size - U8) if size > U8 else U0
                transpose(planes, p + column * size + row, size, out, p + row * size + column, size)


@kernel
def plane(size: Offset) -> Offset:
    """Floats between the begin of one plane of a crop and the next: blocks that are written may reach over its end."""
    return (size * size + U3 * LINE) // LINE * LINE
