"""What nobody can avoid: decoding, in full or at 1/8, and copying bytes from files to the disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import simplejpeg

from tests.benchmarks.side import serve

_READ: dict[str, tuple[list[bytes], list[tuple[int, int]]]] = {}


def load(source: str) -> int:
    """Bring the files of a folder into memory; gives how many."""
    images = [path.read_bytes() for path in _files(source)]
    _READ[source] = images, [simplejpeg.decode_jpeg_header(image)[:2] for image in images]
    return len(images)


def decode(source: str) -> int:
    """Decode what was loaded at 1/8, strictly, and nothing else; gives how many."""
    images, sizes = _READ[source]
    for image, (height, width) in zip(images, sizes, strict=True):
        simplejpeg.decode_jpeg(
            image, "RGB", min_height=-(-height // 8), min_width=-(-width // 8), min_factor=8, strict=True
        )
    return len(images)


def decode_whole(source: str) -> int:
    """Decode what was loaded in full, strictly, into one buffer, and nothing else; gives how many."""
    images, sizes = _READ[source]
    buffer = np.empty(3 * max(height * width for height, width in sizes), np.uint8)
    for image in images:
        simplejpeg.decode_jpeg(image, "RGB", buffer=buffer, strict=True)
    return len(images)


def copy(source: str, out: str) -> int:
    """Read every file and write all of them into one, in large writes; gives the bytes."""
    os.makedirs(out)
    total, waiting, size = 0, [], 0
    descriptor = os.open(f"{out}/copy", os.O_WRONLY | os.O_CREAT)
    for path in _files(source):
        with open(path, "rb", buffering=0) as file:
            waiting.append(file.read())
        size += len(waiting[-1])
        if size >= 1 << 20:
            total += os.writev(descriptor, waiting)
            waiting, size = [], 0
    total += os.writev(descriptor, waiting)
    os.fsync(descriptor)
    os.close(descriptor)
    return total


def _files(source: str) -> list[Path]:
    return sorted(path for path in Path(source).rglob("*") if path.is_file())


if __name__ == "__main__":
    serve(load=load, decode=decode, decode_whole=decode_whole, copy=copy)
