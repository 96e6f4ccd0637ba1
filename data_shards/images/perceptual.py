"""A 64-bit hash of what an image looks like: near duplicates differ in few bits, other images in about half of them.

The image is averaged over 16×16 equal areas in grey; bit *k* says whether cosine *k* of its discrete cosine transform
is positive, from the lowest frequency on, without the constant one. All numbers are integers, so every machine gives
the same hash. An image without any contrast hashes to 0: nothing can be told of it, so 0 equals no other hash.

Measured on 250 ImageNet photographs (`python -m tests.benchmarks.perceptual DIR`), in bits that differ:

                               this hash               difference hash (9×8)
                               median  p95  most       median  p95  most
    saved at quality 50           0     1     3           0     2     7
    half the size                 0     1     2           1     3     5
    short side 256 px             0     2     4           0     2     8
    squeezed to 224×224           0     2     3           0     3     7
    brighter by 20 %              1     5     8           1     4    11
    cropped by 2 % a side         5     9    12           4     9    13
    two different photographs    32    fewest 15         32    fewest 11

Its bits are nearly independent (64 of them vary as 60 independent ones would, those of a difference hash as 39), so two
different photographs agree in all but 4 bits by chance once in 2·10^12 pairs, in all but 6 once in 2·10^10.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_shards.images import Pixels, Scale, decode, probe
from data_shards.images.formats import ImageInfo

THRESHOLD = 4
"""Bits in which near duplicates may differ, where nothing else is asked for."""

_AREAS = 16
_SIDE = 32  # pixels a side at least, where the image has them: with fewer, an area is hardly more than a pixel
_PLENTY = 64  # pixels a side: more are averaged first, which costs less and changes next to nothing
_UPSIDE_DOWN, _MIRRORED = (3, 4, 7, 8), (2, 3, 6, 7)  # orientations that turn the last row, or column, to the front
_ORDER = [(row, diagonal - row) for diagonal in range(1, 11) for row in range(diagonal + 1)][:64]
_ROWS, _COLUMNS = (np.array(axis) for axis in zip(*_ORDER, strict=True))


def _cosines() -> NDArray[np.float64]:
    frequency, place = np.arange(11)[:, None], np.arange(_AREAS)[None]
    cosines: NDArray[np.float64] = np.cos(np.pi * frequency * (2 * place + 1) / (2 * _AREAS))
    return (cosines * 1024).round()


_COSINES = _cosines()


def perceptual_hash(pixels: Pixels) -> int:
    """The hash of uint8 RGB pixels (height, width, 3)."""
    return _hash(pixels, pixels.shape[0], pixels.shape[1], 1)


def scale_for_hash(info: ImageInfo) -> Scale:
    """The scale at which an image is decoded for its hash: the smallest that leaves enough pixels."""
    return next((scale for scale in (8, 4, 2) if min(info.height, info.width) >= _SIDE * scale), 1)


def hash_image(data: bytes, info: ImageInfo | None = None, pixels: Pixels | None = None) -> int:
    """The hash of an encoded image. Raises `ImageError`.

    `pixels` are those that `images.judge` gave, where it did; they save the decoding if they are large enough.
    The hash does not depend on whether they were given.
    """
    info = info or probe(data)
    scale = scale_for_hash(info) if info.format == "jpeg" else 1
    height, width = info.upright
    if pixels is None or pixels.shape[:2] != (-(-height // scale), -(-width // scale)):
        pixels = decode(data, scale=scale, info=info)
    return _hash(pixels, height, width, scale, info.orientation)


def distance(first: int, second: int) -> int:
    """Bits in which two hashes differ, 0 to 64."""
    return (first ^ second).bit_count()


def _hash(pixels: Pixels, height: int, width: int, scale: int, orientation: int = 1) -> int:
    """The hash of an image of `height` × `width` pixels, of which each of `pixels` covers `scale` in each direction."""
    factor = min(pixels.shape[:2]) // _PLENTY
    if factor > 1:
        pixels = np.asarray(Image.fromarray(pixels).reduce(factor))
        scale *= factor
    # Floats hold these integers exactly, for all stay below 2^53, and BLAS multiplies them faster.
    grey = pixels @ np.array([299, 587, 114], np.float64)
    rows, columns = _areas(height, scale), _areas(width, scale)
    if orientation in _UPSIDE_DOWN:
        rows = rows[::-1, ::-1]
    if orientation in _MIRRORED:
        columns = columns[::-1, ::-1]
    means = (rows @ grey @ columns.T) // (height * width)
    cosines = _COSINES @ means @ _COSINES.T
    bits = np.packbits(cosines[_ROWS, _COLUMNS] > 0)
    return int.from_bytes(bits.tobytes(), "big")


@functools.lru_cache(256)
def _areas(side: int, scale: int) -> NDArray[np.float64]:
    """How much of each area lies in each pixel, in 16ths of an image's pixel: (areas, pixels). A row sums to `side`.

    A pixel covers `scale` of the image's `side`, the last one what is left.
    """
    edges = np.minimum(np.arange(-(-side // scale) + 1) * scale, side) * _AREAS
    area = np.arange(_AREAS)[:, None] * side
    covered: NDArray[np.float64] = np.minimum(edges[1:], area + side) - np.maximum(edges[:-1], area) + 0.0
    return covered.clip(0)
