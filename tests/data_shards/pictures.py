"""Small pictures, folders of them, and shard sets for the tests of this package."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_shards.batch import Arrays, Draw
from data_shards.images import decode
from data_shards.images.jpeg import read_header
from data_shards.manifest import Manifest
from data_shards.pack import pack
from data_shards.packing.settings import PackSettings
from data_shards.readers.reader import Entry, Reader


def pixels(seed: int, height: int = 12, width: int = 10, channels: int = 3) -> np.ndarray:
    """A smooth random picture, so that JPEG keeps it nearly as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), np.uint8)
    picture = Image.fromarray(coarse.squeeze()).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def encode(picture: np.ndarray | Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    """Encoded bytes of a picture."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def jpeg(seed: int, height: int = 12, width: int = 10) -> bytes:
    """A small JPEG, another for each seed."""
    return encode(pixels(seed, height, width), quality=90)


class Listed(Reader):
    """A source given as a list of (name, split, label, bytes)."""

    def __init__(self, images: list[tuple[str, str, str | None, bytes]]) -> None:
        self.images = images
        self.config = None

    def entries(self) -> Iterator[Entry]:
        for number, (name, split, label, _) in enumerate(self.images):
            yield Entry(name, split, label, number)

    def read(self, entry: Entry) -> bytes:
        return self.images[entry.location][3]

    @property
    def title(self) -> str:
        return "a list"

    def describe(self) -> dict[str, Any]:
        return {"name": "listed"}


def listed(count: int, classes: int = 3, test: int = 0) -> Listed:
    """`count` train images in turn of each class, and `test` test images."""
    rows = [(f"{n % classes}/{n}.jpg", "train", f"class{n % classes}", jpeg(n)) for n in range(count)]
    rows += [(f"test/{n}.jpg", "test", f"class{n % classes}", jpeg(count + n)) for n in range(test)]
    return Listed(rows)


def broken_jpeg(seed: int) -> bytes:
    """A JPEG that looks whole from outside, and whose coded data break off."""
    whole = jpeg(seed, 40, 40)
    return whole[: read_header(whole).scan + 30] + b"\xff\xd9"


class Thumbnail:
    """A transform that writes the mean colour of an image and the draw it was given, so that a test can read both."""

    def allocate(self, batch: int) -> Arrays:
        return (np.zeros((1, batch, 2, 2, 3), np.uint8), np.zeros((2, batch, 1, 1, 3), np.uint8))

    def write(self, image: bytes, draw: Draw, arrays: Arrays, row: int) -> None:
        arrays[0][0, row] = decode(image).mean((0, 1)).round()
        arrays[1][:, row, 0, 0] = (draw.seed % 256, draw.epoch % 256, draw.index % 256)


def pack_into(out: Path, reader: Reader, **settings: Any) -> Manifest:
    """Pack with one worker and one thread unless told otherwise."""
    return pack(reader, out, PackSettings(**{"workers": 1, "threads": 1, **settings}))


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a directory, hidden ones too."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def mixed(count: int = 40) -> Listed:
    """Good, bad and repeated images, two splits, classes and none."""
    return Listed(list(_mixed(count)))


@functools.cache
def _mixed(count: int) -> tuple[tuple[str, str, str | None, bytes], ...]:
    odd = {3: lambda n: b"<html>", 5: broken_jpeg, 7: lambda n: jpeg(n - 5), 9: lambda n: encode(pixels(n), "PNG")}
    rows = []
    for n in range(count):
        image = odd.get(n % 10, jpeg)(n)
        rows.append((f"{n}.jpg", "test" if n % 4 == 0 else "train", None if n % 6 == 0 else str(n % 3), image))
    return tuple(rows)
