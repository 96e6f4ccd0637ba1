"""A box of an image, resized with antialiasing in one step: Pillow's bilinear or bicubic, to within one grey level.

The filter is separable: `weights` gives each output row (column) its first source row (column), the number of taps and
their weights. Then, for sixteen output rows at a time:

1. `vertical`    sums whole source rows, RGB RGB ..., into sixteen rows of floats; a strip of 64 floats a time
2. `transpose`   puts the sixteen rows side by side: for each colour of a pixel, sixteen floats that share their weights
3. `horizontal`  sums columns, sixteen lanes at once, and writes them into the red, green and blue planes

So planes hold columns, one after another. What is done to single pixels does not mind; `turn` makes rows of them when
all that is done.

Bicubic weights are negative in places, so sums leave 0 ... 255, and Pillow cuts them off after its first pass, which is
across. Down first, as above, gives pixels 16 levels away from its own. So the box is first laid on its side (`lay`),
the same passes then go across and down, cut off after each, and the planes are turned back into columns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pipeline.views.kernel import Floats, Offsets, Pixels, Record, kernel
from pipeline.views.lanes import LANES, load, load_bytes, plus, store, transpose, zeros
from pipeline.views.offsets import U0, U1, U2, U3, U8, Offset

f32 = np.float32
ZERO, TOP = f32(0), f32(255)
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
        places = 4 * length + 5 * size  # bicubic: size * (2 * ceil(2 * scale) + 1), where scale is length / size or 1
        return cls(np.zeros(size, np.uint64), np.zeros(size, np.uint64), floats(places))


@kernel
def cubic(x: float) -> float:
    """Keys' kernel with a = -0.5 at a distance x >= 0, as Pillow has it; OpenCV's a is -0.75."""
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 if x < 2.0 else 0.0


@kernel
def weights(
    start: float,
    length: float,
    limit: int,
    grid: int,
    first: int,
    count: int,
    flip: bool,
    bicubic: bool,
    axis: Axis,
) -> int:
    """The filter of outputs first ... first + count of a resize of [start, start + length) to `grid` pixels.

    Triangle, or bicubic; mirrored on demand: the last output comes first. Taps stay inside [0, limit). Returns the
    places of one output in `axis.weights`. As Pillow's precompute_coeffs.
    """
    scale = length / grid
    stretch = max(scale, 1.0)
    support = 2.0 * stretch if bicubic else stretch
    slope = 1.0 / stretch
    places = math.ceil(support) * 2 + 1
    for n in range(count):
        centre = start + (first + n + 0.5) * scale
        begin = int(max(centre - support + 0.5, 0.0))
        taps = min(int(centre + support + 0.5), limit) - begin
        output = count - 1 - n if flip else n
        total = 0.0
        if bicubic:
            for k in range(taps):
                weight = cubic(abs((begin + k - centre + 0.5) * slope))
                axis.weights[output * places + k] = weight
                total += weight
        else:
            for k in range(taps):
                weight = max(1.0 - abs((begin + k - centre + 0.5) * slope), 0.0)
                axis.weights[output * places + k] = weight
                total += weight
        share = f32(1.0 / total)
        for k in range(taps):
            axis.weights[output * places + k] *= share
        axis.begin[output] = begin
        axis.taps[output] = taps
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
def horizontal(strips: Floats, x: Axis, places: Offset, size: Offset, planes: Floats, room: Offset, o: Offset) -> None:
    """Sixteen rows of the crop: into the columns of three planes, from row o on."""
    begin, taps, weight = x.begin, x.taps, x.weights
    for column in range(size):  # in this order: where a crop is lower than 16, a column writes over the next
        j, k = begin[column] * U3 * LINE, column * places
        red = green = blue = zeros()
        for tap in range(taps[column]):
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
def cut_off(f: Floats, length: Offset) -> None:
    """What lies outside 0 ... 255, to there."""
    for i in range(length):
        f[i] = min(max(f[i], ZERO), TOP)


@kernel
def lay(source: Pixels, corner: Offset, stride: Offset, rows: Offset, columns: Offset, lain: Pixels) -> None:
    """The pixels of a box, columns for rows, into the begin of `lain`; by blocks that stay in the cache."""
    for top in range(U0, rows, U8):
        for column in range(columns):
            s, t = corner + top * stride + U3 * column, U3 * (column * rows + top)
            for _ in range(min(U8, rows - top)):
                lain[t] = source[s]
                lain[t + U1] = source[s + U1]
                lain[t + U2] = source[s + U2]
                s += stride
                t += U3


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
    spare: Floats,
    lain: Pixels | None,
) -> None:
    """The box of `view` in `source`, resized, as floats 0 ... 255 in three planes of columns.

    source: flat uint8 image of height x width x 3, decoded at 1 / reduction of the size that `view` speaks of.
    planes: flat, room for three planes of `plane(size)` floats, and so is spare.
    lain: room for the image; None where no view is bicubic: then numba compiles nothing of that.
    """
    # Pixel k of a reduced image covers pixels [k * reduction, (k + 1) * reduction) of the whole one.
    top, left = view.top / reduction, view.left / reduction
    box_height, box_width = view.height / reduction, view.width / reduction
    first_row, first_column = int(top), int(left)
    rows = min(math.ceil(top + box_height), height) - first_row
    columns = min(math.ceil(left + box_width), width) - first_column
    flip, bicubic = view.flip != 0, False
    if lain is not None:
        bicubic = view.bicubic != 0
    y_places = weights(top - first_row, box_height, rows, view.grid_height, view.grid_top, view.size, False, bicubic, y)
    x_places = weights(
        left - first_column, box_width, columns, view.grid_width, view.grid_left, view.size, flip, bicubic, x
    )
    size, stride, length = np.uint64(view.size), np.uint64(3 * width), np.uint64(3 * columns)
    corner = np.uint64(3 * (first_row * width + first_column))
    down, across, down_places, across_places, out = y, x, np.uint64(y_places), np.uint64(x_places), planes
    if lain is not None and bicubic:
        lay(source, corner, stride, np.uint64(rows), np.uint64(columns), lain)
        source, corner, stride, length = lain, U0, np.uint64(3 * rows), np.uint64(3 * rows)
        down, across, down_places, across_places, out = x, y, across_places, down_places, spare
    for block in range(U0, size, LINE):
        row: Offset = min(block, size - LINE) if size > LINE else U0  # the last sixteen may overlap those before
        for at in range(U0, length, STRIP):
            column: Offset = min(at, length - STRIP) if length > STRIP else U0
            for r in range(LINE):
                n: Offset = min(row + r, size - U1)
                s, k = corner + down.begin[n] * stride + column, n * down_places
                if length < STRIP:
                    vertical_narrow(strip, r * STRIP, source, s, stride, length, down.taps[n], down.weights, k)
                else:
                    vertical(strip, r * STRIP, source, s, stride, down.taps[n], down.weights, k)
            if bicubic:
                cut_off(strip, LINE * STRIP)
            for i in range(U0, STRIP, U8):
                o = (column + i) * LINE
                transpose(strip, i, STRIP, strips, o, LINE)
                transpose(strip, U8 * STRIP + i, STRIP, strips, o + U8, LINE)
        horizontal(strips, across, across_places, size, out, plane(size), row)
    if bicubic:
        turn(spare, size, U3, planes)
        cut_off(planes, U3 * plane(size))


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
