"""A box of an image, resized with antialiasing in one step: Pillow's bilinear filter to within one grey level.

The filter is separable: `weights` gives each output row (column) its first source row (column), the number of taps and
their weights. Then, for four output rows at a time:

1. `vertical`    sums whole source rows, RGB RGB ..., into one row of floats, for each of the four
2. `interleave`  puts the four rows side by side: twelve floats (3 colours x 4 rows) for a column of the box
3. `horizontal`  sums columns, twelve lanes at once, because the lanes of a column share their weights
4. `separate`    writes the lanes into the red, green and blue planes

A horizontal filter on interleaved RGB has no neighbouring pixels that share a weight; four rows make some. Where the
side is no multiple of four, the last row is repeated; planes have room for the repeats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pipeline.views.kernel import Floats, Offsets, Pixels, Record, kernel, lanewise
from pipeline.views.offsets import U0, U1, U2, U3, U4, U5, U6, U7, U8, U9, U10, U11, U12, Offset

f32 = np.float32
ZERO = f32(0)


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


class Rows(NamedTuple):
    """Four rows on their way through the filter."""

    box: Floats
    """As wide as the box, one row after another."""
    box_lanes: Floats
    """As wide as the box, 12 lanes a column."""
    red: Floats
    """As wide as the crop, 4 lanes a column; so are green and blue."""
    green: Floats
    blue: Floats

    @classmethod
    def of(cls, size: int, width: int) -> Rows:
        sizes = (12 * width, 12 * width, 4 * size, 4 * size, 4 * size)
        return cls(*map(floats, sizes))


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
    """out[o : o + length] = sum over taps of w[k + tap] * source[s + tap * stride :]. Up to four taps a sweep."""
    end = k + taps
    if taps >= U4:
        w0, w1, w2, w3 = w[k], w[k + U1], w[k + U2], w[k + U3]
        s1, s2, s3 = s + stride, s + U2 * stride, s + U3 * stride
        for i in range(length):
            out[o + i] = (
                w0 * f32(source[s + i]) + w1 * f32(source[s1 + i]) + w2 * f32(source[s2 + i]) + w3 * f32(source[s3 + i])
            )
        k, s = k + U4, s + U4 * stride
    elif taps >= U2:
        w0, w1 = w[k], w[k + U1]
        s1 = s + stride
        for i in range(length):
            out[o + i] = w0 * f32(source[s + i]) + w1 * f32(source[s1 + i])
        k, s = k + U2, s + U2 * stride
    else:
        w0 = w[k]
        for i in range(length):
            out[o + i] = w0 * f32(source[s + i])
        k, s = k + U1, s + stride
    while k + U4 <= end:
        w0, w1, w2, w3 = w[k], w[k + U1], w[k + U2], w[k + U3]
        s1, s2, s3 = s + stride, s + U2 * stride, s + U3 * stride
        for i in range(length):
            out[o + i] += (
                w0 * f32(source[s + i]) + w1 * f32(source[s1 + i]) + w2 * f32(source[s2 + i]) + w3 * f32(source[s3 + i])
            )
        k, s = k + U4, s + U4 * stride
    if k + U2 <= end:
        w0, w1 = w[k], w[k + U1]
        s1 = s + stride
        for i in range(length):
            out[o + i] += w0 * f32(source[s + i]) + w1 * f32(source[s1 + i])
        k, s = k + U2, s + U2 * stride
    if k < end:
        w0 = w[k]
        for i in range(length):
            out[o + i] += w0 * f32(source[s + i])


@kernel
def interleave(rows: Floats, length: Offset, lanes: Floats) -> None:
    """Four rows of `length` floats, one after another, into `length` groups of four."""
    r1, r2, r3 = length, U2 * length, U3 * length
    for i in range(length):
        j = i * U4
        lanes[j], lanes[j + U1], lanes[j + U2], lanes[j + U3] = rows[i], rows[r1 + i], rows[r2 + i], rows[r3 + i]


@kernel
def separate(lanes: Floats, size: Offset, plane: Floats, p: Offset) -> None:
    """`size` groups of four into four rows of plane[p:]."""
    p1, p2, p3 = p + size, p + U2 * size, p + U3 * size
    for i in range(size):
        j = i * U4
        plane[p + i], plane[p1 + i], plane[p2 + i], plane[p3 + i] = (
            lanes[j],
            lanes[j + U1],
            lanes[j + U2],
            lanes[j + U3],
        )


@lanewise
def horizontal(rows: Rows, axis: Axis, places: Offset, size: Offset, flip: bool) -> None:
    """Filter 12 lanes a column of the box into 3 x 4 lanes a column of the crop, mirrored on demand."""
    lanes, red, green, blue = rows.box_lanes, rows.red, rows.green, rows.blue
    begin, taps, weight = axis.begin, axis.taps, axis.weights
    for x in range(size):
        j = begin[x] * U12
        k = x * places
        r0 = r1 = r2 = r3 = g0 = g1 = g2 = g3 = b0 = b1 = b2 = b3 = ZERO
        for tap in range(taps[x]):
            w = weight[k + tap]
            r0 += w * lanes[j]
            r1 += w * lanes[j + U1]
            r2 += w * lanes[j + U2]
            r3 += w * lanes[j + U3]
            g0 += w * lanes[j + U4]
            g1 += w * lanes[j + U5]
            g2 += w * lanes[j + U6]
            g3 += w * lanes[j + U7]
            b0 += w * lanes[j + U8]
            b1 += w * lanes[j + U9]
            b2 += w * lanes[j + U10]
            b3 += w * lanes[j + U11]
            j += U12
        o = (size - U1 - x if flip else x) * U4
        red[o], red[o + U1], red[o + U2], red[o + U3] = r0, r1, r2, r3
        green[o], green[o + U1], green[o + U2], green[o + U3] = g0, g1, g2, g3
        blue[o], blue[o + U1], blue[o + U2], blue[o + U3] = b0, b1, b2, b3


@kernel
def resample(
    source: Pixels, height: int, width: int, reduction: int, view: Record, x: Axis, y: Axis, rows: Rows, planes: Floats
) -> None:
    """The box of `view` in `source`, resized, as floats 0 ... 255 in three planes.

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
    corner = np.uint64(3 * (first_row * width + first_column))
    room = plane(size)
    for row in range(U0, size, U4):
        for r in range(U4):
            n: Offset = min(row + r, size - U1)
            s = corner + y.begin[n] * stride
            vertical(rows.box, r * length, source, s, stride, length, y.taps[n], y.weights, n * np.uint64(y_places))
        interleave(rows.box, length, rows.box_lanes)
        horizontal(rows, x, np.uint64(x_places), size, view.flip != 0)
        p = row * size
        separate(rows.red, size, planes, p)
        separate(rows.green, size, planes, room + p)
        separate(rows.blue, size, planes, room + room + p)


@kernel
def plane(size: Offset) -> Offset:
    """Floats between the begin of one plane of a crop and the next: its rows, rounded up to a multiple of four."""
    return (size + U3) // U4 * U4 * size
