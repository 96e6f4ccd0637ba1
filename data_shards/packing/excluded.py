"""The images of other shard sets that shall not be packed, such as those that a model will be tested on.

Each set is read once, before the packing begins: the hashes of its images, sorted, and their perceptual hashes where
near duplicates are looked for. Look-ups are binary searches in files, so a set may be of any size.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_shards.errors import ImageError
from data_shards.images.perceptual import hash_image
from data_shards.index import image_in, samples_in
from data_shards.manifest import Manifest
from data_shards.packing.records import sort_by_hash
from data_shards.stream import ShardSet

_COLUMNS = ("high", "low", "number")
_NEAR = "perceptual"
_SPLIT, _SET = 48, 56  # a number holds the set, the split and the index of an image, from these bits on


class Excluded:
    """Looks images up in the sets `directories`, which `write` has read into `folder`."""

    def __init__(self, folder: Path, directories: Sequence[str]) -> None:
        self.folder, self.directories = folder, tuple(directories)

    @classmethod
    def write(cls, folder: Path, directories: Sequence[str], *, near: bool) -> None:
        """Read the images of the sets. Raises `ShardError` where one cannot be read."""
        if not directories:
            return
        folder.mkdir(exist_ok=True)
        found = list(_images(directories, near))
        numbers = np.array([number for number, *_ in found], np.uint64)
        hashes = np.frombuffer(b"".join(digest for _, digest, _ in found), "V16")
        lines = sort_by_hash(hashes, numbers)
        for name in _COLUMNS:
            np.save(folder / name, np.ascontiguousarray(lines[name]))
        looks = np.array([look for *_, look in found if look is not None], np.uint64)
        np.save(folder / _NEAR, np.stack([looks, numbers[[look is not None for *_, look in found]]]))

    def find(self, digest: bytes) -> str | None:
        """The name of the excluded image with this sha256, None where there is none."""
        if not self.directories:
            return None
        high, low, number = self._columns
        first, second = (int.from_bytes(digest[at : at + 8], "big") for at in (0, 8))
        begin, end = np.searchsorted(high, np.uint64(first)), np.searchsorted(high, np.uint64(first), "right")
        at = int(begin + np.searchsorted(low[begin:end], np.uint64(second)))
        return self.name(int(number[at])) if at < end and int(low[at]) == second else None

    def looks(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Perceptual hashes of the excluded images, and their numbers."""
        if not self.directories:
            return np.empty(0, np.uint64), np.empty(0, np.uint64)
        looks, numbers = np.load(self.folder / f"{_NEAR}.npy")
        return looks, numbers

    def name(self, number: int) -> str:
        """What a ledger calls an excluded image: its set, split and key."""
        shard_set = self._sets[number >> _SET][number >> _SPLIT & 0xFF]
        index = number & (1 << _SPLIT) - 1
        shard = int(np.searchsorted(np.cumsum(shard_set.counts), index, side="right"))
        sample = index - int(shard_set.counts[:shard].sum())
        return f"{shard_set.directory}/{shard_set.split}/{shard_set.key(shard, sample)}"

    @cached_property
    def _columns(self) -> tuple[NDArray[np.uint64], ...]:
        return tuple(np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in _COLUMNS)

    @cached_property
    def _sets(self) -> list[list[ShardSet]]:
        return _open(self.directories)


def _open(directories: Sequence[str]) -> list[list[ShardSet]]:
    folders = [Path(directory) for directory in directories]
    return [[ShardSet(folder, split) for split in Manifest.load(folder).splits] for folder in folders]


def _images(directories: Sequence[str], near: bool) -> Iterator[tuple[int, bytes, int | None]]:
    """Number, hash (16 bytes) and perceptual hash of every image; one that was re-encoded comes under both hashes."""
    for number_of_set, splits in enumerate(_open(directories)):
        for number_of_split, shard_set in enumerate(splits):
            first = number_of_set << _SET | number_of_split << _SPLIT
            for shard in shard_set.shards:
                path = shard_set.directory / shard.name
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    for index, members in enumerate(samples_in(path), first + shard.first_index):
                        image = image_in(members)
                        story = next((m for m in members if m.name.endswith(".json")), None)
                        if image is None:
                            continue
                        content = os.pread(descriptor, image.size, image.offset)
                        hashes = {hashlib.sha256(content).digest()[:16]}
                        if story is not None:
                            told = json.loads(os.pread(descriptor, story.size, story.offset))
                            if original := told.get("original_sha256"):
                                hashes.add(bytes.fromhex(original)[:16])
                        look = _look(content) if near else None
                        for digest in hashes:
                            yield index, digest, look
                finally:
                    os.close(descriptor)


def _look(image: bytes) -> int | None:
    try:
        return hash_image(image) or None  # 0 tells nothing
    except ImageError:
        return None
