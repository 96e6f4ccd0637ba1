"""The images that both sides pack.

Photographs are repeated under other names until there are enough. Packing drops equal images, so each repetition has a
comment segment with its number behind the first segment of the JPEG: eight bytes more, no pixel changed, and the end
of the file stays its end.
"""

from __future__ import annotations

import hashlib
import itertools
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from data_shards.images import decode, encode_jpeg


def photographs_in(data: Path) -> list[bytes]:
    """The JPEG files of a folder or a tar, in the order of their names. Raises `ValueError` where there are none."""
    found = {}
    if data.is_dir():
        found = {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}
    else:
        with tarfile.open(data) as tar:
            for member in tar:
                if (file := tar.extractfile(member)) is not None:
                    found[member.name] = file.read()
    images = [image for _, image in sorted(found.items()) if image[:2] == b"\xff\xd8" and image[-2:] == b"\xff\xd9"]
    if not images:
        raise ValueError(f"{data} holds no whole JPEG file; give a folder or a tar of photographs")
    return images


def lay_out(images: list[bytes], count: int, folder: Path, classes: int = 0) -> Path:
    """Write `count` different images into `folder`, in so many folders of classes."""
    for number, image in enumerate(itertools.islice(_endless(images), count)):
        name = f"{number:06d}.jpg"
        path = folder / f"class{number * classes // count:03d}" / name if classes else folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return folder


def reencoded(images: list[bytes], side: int = 256) -> list[bytes]:
    """The images with their shorter side brought to `side` pixels, as JPEGs of quality 90 with halved colour."""
    found = []
    for image in images:
        picture = Image.fromarray(decode(image))
        factor = side / min(picture.size)
        size = (round(picture.width * factor), round(picture.height * factor))
        smaller = np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
        found.append(encode_jpeg(smaller, quality=90, subsampling="420"))
    return found


def megapixels(images: list[bytes], width: int = 1152, height: int = 864) -> list[bytes]:
    """As many images of a megapixel, each of four photographs side by side: quality 85, halved colour."""
    tiles = [
        Image.fromarray(decode(image)).resize((width // 2, height // 2), Image.Resampling.LANCZOS) for image in images
    ]
    found = []
    for first in range(len(tiles)):
        picture = Image.new("RGB", (width, height))
        for corner in range(4):
            at = (corner % 2 * width // 2, corner // 2 * height // 2)
            picture.paste(tiles[(first + 7 * corner) % len(tiles)], at)
        found.append(encode_jpeg(np.asarray(picture), quality=85, subsampling="420"))
    return found


def lay_out_small(count: int, folder: Path, seed: int = 0) -> Path:
    """Write `count` different JPEGs of 32×32 pixels, a thousand in a folder."""
    draw = np.random.default_rng(seed)
    for number in range(count):
        path = folder / f"{number // 1000:05d}" / f"{number:08d}.jpg"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(encode_jpeg(draw.integers(0, 256, (32, 32, 3), np.uint8)))
    return folder


def hashes_of(folder: Path) -> Counter[str]:
    """sha256 of each file below a folder."""
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file())


def hashes_in_tars(folder: Path) -> Counter[str]:
    """sha256 of each .jpg member of the tars in a folder, by an independent reader."""
    found: Counter[str] = Counter()
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".jpg") and (file := tar.extractfile(member)) is not None:
                    found[hashlib.sha256(file.read()).hexdigest()] += 1
    return found


def _endless(images: list[bytes]) -> Iterator[bytes]:
    yield from images
    for number in itertools.count():
        image = images[number % len(images)]
        first = 4 + int.from_bytes(image[4:6], "big")  # SOI, then the marker and the length of the first segment
        yield image[:first] + b"\xff\xfe\x00\x06" + number.to_bytes(4, "big") + image[first:]
