"""One encoded image in, its crops out, as bytes into the arrays of a batch.

1. read the size from the header and lay out the views (`Renderer.lay_out`)
2. decode once, a JPEG at the smallest scale at which every crop still has all its pixels
3. one compiled call a crop size: resample, colour, round, and write each crop into its place

Crops are bytes in rows of RGB, (height, width, 3): a quarter of the size of floats, and what torch calls channels_last
when it sees them as (3, height, width). Normalisation is left to the device (`views.normalise`); so are colours, where
the recipe says `photometric: device`: then the crops come plain, and what was drawn for them in one more array.
"""

from __future__ import annotations

import abc
import math
import threading
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from data_shards import images
from data_shards.batch import Arrays, Draw
from pipeline.views.draw import COLOURS, LAW, VIEW, Law, Reduction, draw_views
from pipeline.views.kernel import Floats, Pixels, entry, kernel
from pipeline.views.offsets import U0, U1, U2, U3, Offset
from pipeline.views.photometric import blur_columns, blur_line, gaussian, grayscale, jitter, solarise
from pipeline.views.resample import LINE, STRIP, Axis, floats, plane, resample, turn

Scratch: TypeAlias = tuple[Any, ...]
"""Memory for `render`: an Axis across, one down, a strip, strips, planes of a crop, the same again, lines, half a
Gaussian, and for bicubic views an image lain on its side.

A plain tuple of arrays: numba spends 2 us on recognising a named one at every call.
"""

Photometric: TypeAlias = Literal["cpu", "device"]
"""Where colours are changed: by the kernels of the loader, or in batches on the device that trains (colour.py)."""

HALF = np.float32(0.5)
DECODE_BUFFER = 12 << 20
"""Bytes each thread keeps for decoded pixels (4 megapixels), which saves the page faults of fresh memory."""


def scratch_for(size: int, sigma: float, height: int, width: int, bicubic: bool = False) -> Scratch:
    """Enough for crops of up to `size` pixels a side, blurred by up to `sigma`, from images of up to height x width."""
    planes, line = 3 * int(plane(np.uint64(size))), 3 * (size + int(STRIP))
    strips = int(LINE) * (3 * (max(height, width) if bicubic else width) + int(STRIP))
    others = (floats(n) for n in (int(LINE * STRIP), strips, planes, planes, line, math.ceil(3 * sigma) + 2))
    lain = np.empty(3 * height * width, np.uint8) if bicubic else None
    return (*Axis.of(size, width), *Axis.of(size, height), *others, lain)


@kernel
def store(f: Floats, r: Offset, g: Offset, b: Offset, length: Offset, out: Pixels, o: Offset) -> None:
    """Three lines, rounded, into RGB RGB ..."""
    for i in range(length):
        j = o + U3 * i
        out[j] = np.uint8(np.int32(f[r + i] + HALF))
        out[j + U1] = np.uint8(np.int32(f[g + i] + HALF))
        out[j + U2] = np.uint8(np.int32(f[b + i] + HALF))


@entry
def render(
    image: NDArray[np.uint8], reduction: int, views: NDArray[Any], array: NDArray[np.uint8], row: int, scratch: Scratch
) -> None:
    """Write `views` of one image (height, width, 3), decoded at 1 / reduction, into array[:, row].

    array: (views, batch, size, size, 3), all views of that size.
    """
    x, y = Axis(scratch[0], scratch[1], scratch[2]), Axis(scratch[3], scratch[4], scratch[5])
    strip, strips, drawn, turned, lines, half, lain = scratch[6:]
    height, width = image.shape[0], image.shape[1]
    source, out = image.reshape(-1), array.reshape(-1)
    batch, size = np.uint64(array.shape[1]), np.uint64(array.shape[2])
    room, length = plane(size), size * size
    for n in range(views.shape[0]):
        view, radius = views[n], U0
        resample(source, height, width, reduction, view, x, y, strip, strips, drawn, turned, lain)
        if view.jitter != 0:
            jitter(drawn, room, length, view)
        elif view.grayscale != 0:
            grayscale(drawn, U0, room, room + room, length)
        channels = U1 if view.grayscale != 0 else U3
        planes, other = drawn, turned
        if view.sigma > 0:
            radius = gaussian(view.sigma, half)
            blur_columns(planes, size, channels, half, radius, other)
            planes, other = other, planes
        turn(planes, size, channels, other)
        o = (np.uint64(n) * batch + np.uint64(row)) * length * U3
        write(other, size, channels, half, radius, view.solarise != 0, lines, out, o)


@kernel
def write(
    planes: Floats,
    size: Offset,
    channels: Offset,
    half: Floats,
    radius: Offset,
    solarised: bool,
    lines: Floats,
    out: Pixels,
    o: Offset,
) -> None:
    """Planes of rows into a crop: what a row still lacks is done to a copy of it, then it is rounded."""
    room, apart = plane(size), size + STRIP
    for y in range(size):
        row, step, source = y * size, room, planes
        if radius > U0 or solarised:
            for c in range(channels):
                if radius > U0:
                    blur_line(planes, c * room, y, size, half, radius, lines, c * apart)
                else:
                    for i in range(size):
                        lines[c * apart + i] = planes[c * room + row + i]
                if solarised:
                    solarise(lines, c * apart, size)
            row, step, source = U0, apart, lines
        if channels == U1:
            step = U0
        store(source, row, row + step, row + step + step, size, out, o + y * size * U3)


class Renderer(abc.ABC):
    """Turns encoded images into crops: a `data_shards.batch.Transform`, safe to use from many threads.

    What a view is, `lay_out` decides; everything else is the same for pretraining, training and evaluation. Views of
    one size that follow each other share an array.
    """

    def __init__(
        self, sizes: Sequence[int], sigma: float = 0.0, photometric: Photometric = "cpu", bicubic: bool = False
    ) -> None:
        """`sizes`: side of each view in pixels; `sigma`: of the strongest blur, pixels; `bicubic`: whether any is."""
        self.groups = tuple((size, len(list(views))) for size, views in groupby(sizes))
        """(side in pixels, number of views) of each array."""
        self._sigma, self._later, self._bicubic = sigma, photometric == "device", bicubic
        self._threads = threading.local()

    @abc.abstractmethod
    def lay_out(self, draw: Draw, height: int, width: int, views: NDArray[Any]) -> Reduction:
        """Fill `views`, VIEW records, for an upright image; returns the reduction at which it may be decoded."""

    def allocate(self, batch: int) -> Arrays:
        """For each group an array of bytes (views, batch, size, size, 3).

        With `photometric: device` one more, (all views, batch, bytes of a COLOURS record).
        """
        arrays = tuple(np.empty((views, batch, size, size, 3), np.uint8) for size, views in self.groups)
        if self._later:
            views = sum(views for _, views in self.groups)
            arrays += (np.zeros((views, batch, COLOURS.itemsize), np.uint8),)
        return arrays

    def write(self, image: bytes, draw: Draw, arrays: Arrays, row: int) -> None:
        """Write the crops of one encoded image into `row` of each array. Raises `ImageError`."""
        thread = self._thread()
        info = images.probe(image)
        height, width = info.upright
        reduction = self.lay_out(draw, height, width, thread.views)
        if self._later:
            arrays[-1][:, row] = thread.colours
            thread.colours[:] = 0  # nothing to do for `render`
        pixels = images.decode(image, scale=reduction, info=info, buffer=thread.buffer)
        if pixels.shape[:2] == (height, width):  # what is no JPEG comes whole
            reduction = 1
        scratch = thread.scratch_for(pixels.shape[0], pixels.shape[1])
        for views, array in zip(thread.groups, arrays[: len(self.groups)], strict=True):
            render(pixels, reduction, views, array, row, scratch)

    def _thread(self) -> _Thread:
        try:
            thread: _Thread = self._threads.own
        except AttributeError:
            thread = self._threads.own = _Thread(self.groups, self._sigma, self._bicubic)
        return thread


class _Thread:
    """What a thread keeps from image to image."""

    def __init__(self, groups: Sequence[tuple[int, int]], sigma: float, bicubic: bool) -> None:
        self.views = np.zeros(sum(views for _, views in groups), VIEW)
        ends = np.cumsum([0, *(views for _, views in groups)])
        self.groups = [self.views[begin:end] for begin, end in pairwise(ends)]
        self.colours = self.views.view(np.uint8).reshape(-1, VIEW.itemsize)[:, -COLOURS.itemsize :]
        self.buffer = np.empty(DECODE_BUFFER, np.uint8)
        self._largest, self._sigma, self._bicubic = max(size for size, _ in groups), sigma, bicubic
        self._height = self._width = 0
        self._scratch: Scratch = ()

    def scratch_for(self, height: int, width: int) -> Scratch:
        """Memory for an image of this size; grows with the largest seen, to the next power of two."""
        if height > self._height or width > self._width:
            self._height = max(self._height, 1 << (height - 1).bit_length())
            self._width = max(self._width, 1 << (width - 1).bit_length())
            self._scratch = scratch_for(self._largest, self._sigma, self._height, self._width, self._bicubic)
        return self._scratch


class RandomViews(Renderer):
    """Views drawn at random, one law a view."""

    def __init__(self, laws: Sequence[Law], photometric: Photometric = "cpu") -> None:
        sigma = max((law.blur_sigma[1] for law in laws if law.blur > 0), default=0.0)
        bicubic = any(law.interpolation == "bicubic" for law in laws)
        super().__init__([law.size for law in laws], sigma, photometric, bicubic)
        self._laws = np.array([law.record() for law in laws], LAW)

    def lay_out(self, draw: Draw, height: int, width: int, views: NDArray[Any]) -> Reduction:
        return draw_views(draw.seed, draw.epoch, draw.index, height, width, self._laws, views)
