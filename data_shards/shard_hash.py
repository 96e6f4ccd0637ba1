"""The hash of a shard: sha256 over its tar, with the bytes of each image replaced by their own sha256.

The sha256 of an image is needed anyhow, to know it again; so its bytes are hashed once and not twice, which is most of
what packing costs beside reading and writing. Every bit of the tar still counts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from data_shards.index import is_image
from data_shards.tar import Member, walk

_BLOCK = 1 << 20  # bytes read at once


def hash_of(tar: Path) -> str:
    """The hash of a finished shard. Raises `OSError`, and `ValueError` where its headers are damaged."""
    descriptor = os.open(tar, os.O_RDONLY)
    try:
        end = os.fstat(descriptor).st_size
        digest = hash_to(descriptor, walk(descriptor, end), end)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def hash_to(descriptor: int, members: Iterator[Member], end: int) -> hashlib._Hash:
    """The hash over the first `end` bytes of a tar, which may go on; `members` are those in them, in order."""
    digest, at = hashlib.sha256(), 0
    for member in members:
        if is_image(member.name):
            _update(digest, descriptor, at, member.offset)
            image = hashlib.sha256()
            at = member.offset + member.size
            _update(image, descriptor, member.offset, at)
            digest.update(image.digest())
    _update(digest, descriptor, at, end)
    return digest


def _update(digest: hashlib._Hash, descriptor: int, begin: int, end: int) -> None:
    while begin < end:
        block = os.pread(descriptor, min(_BLOCK, end - begin), begin)
        if not block:
            raise OSError(f"ends before byte {end}")
        digest.update(block)
        begin += len(block)
