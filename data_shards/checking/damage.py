"""What is wrong with one shard, found by reading it once from end to end.

The tar is compared with its hash and with the index beside it, and each sample with itself: its image with the sha256
in its metadata, its members with those that would be packed today.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from data_shards import images
from data_shards.checking.members import number_in, restored
from data_shards.errors import ImageError
from data_shards.index import is_image, write_index
from data_shards.manifest import Shard
from data_shards.tar import Member, walk

_NAMED = 20  # samples of one shard that are named; more are counted
_BLOCK = 1 << 20


class Damage(NamedTuple):
    """What is wrong with one file of a shard set."""

    shard: str
    reason: str


def reasons_in(directory: Path, shard: Shard, classes: Mapping[str, int], decode: bool = False) -> list[str]:
    """Everything that is wrong with a shard, each as the rest of a sentence about it; empty where it is whole.

    `classes` gives the number of each label; with `decode` every pixel is decoded too.
    """
    path = directory / shard.name
    digest = hashlib.sha256()
    samples: list[list[Member]] = []
    faults: list[str] = []
    previous = -1
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != shard.bytes:
                return [f"has {size} bytes, the manifest says {shard.bytes}"]
            for placed, members, image in _samples(file.fileno(), size, digest):
                samples.append(placed)
                key = placed[0].name.partition(".")[0]
                number = number_in(key)
                if number is None or number <= previous:
                    faults.append(f"sample {key}: its number does not follow {previous}")
                previous = previous if number is None else number
                fault = _fault(members, image, shard.split, classes, decode)
                if fault:
                    faults.append(f"sample {key}: {fault}")
    except FileNotFoundError:
        return ["is missing"]
    except ValueError as error:
        return [f"its bytes are not those that were packed ({error})", *_shortened(faults)]
    except OSError as error:
        return [f"cannot be read ({error.strerror or error})"]
    if digest.hexdigest() != shard.hash:
        return ["its bytes are not those that were packed (hash)", *_shortened(faults)]
    if len(samples) != shard.samples:
        faults.append(f"holds {len(samples)} samples, the manifest says {shard.samples}")
    return _index_reasons(directory / shard.index_name, samples) + _shortened(faults)


def _samples(
    descriptor: int, size: int, digest: hashlib._Hash
) -> Iterator[tuple[list[Member], list[tuple[str, bytes]], bytes | None]]:
    """Of each sample the places and contents of its members, and the sha256 of its image.

    Meanwhile `digest` becomes that of the whole tar (`shard_hash.py`), so that every byte is read and hashed once.
    """
    at, key = 0, None
    placed: list[Member] = []
    contents: list[tuple[str, bytes]] = []
    image: bytes | None = None
    for member in walk(descriptor, size):
        end = member.offset + member.size
        block = os.pread(descriptor, end - at, at)
        if len(block) < end - at:
            raise ValueError(f"cut off at byte {at + len(block)}")
        this = member.name.partition(".")[0]
        if this != key and placed:
            yield placed, contents, image
            placed, contents, image = [], [], None
        key, content = this, block[member.offset - at :]
        if is_image(member.name):
            digest.update(block[: member.offset - at])
            image = hashlib.sha256(content).digest()
            digest.update(image)
        else:
            digest.update(block)
        placed.append(member)
        contents.append((member.name, content))
        at = end
    if placed:
        yield placed, contents, image
    while block := os.pread(descriptor, _BLOCK, at):
        digest.update(block)
        at += len(block)


def _fault(
    members: list[tuple[str, bytes]], image: bytes | None, split: str, classes: Mapping[str, int], decode: bool
) -> str | None:
    """What is wrong with a sample; `image` is the sha256 of its image."""
    try:
        sample = restored(members, split, classes, image)
        if sample.members() != members:
            return "its members are not those of its metadata"
        if decode:
            height, width = images.check(sample.image, "full", max_pixels=1 << 62).upright
            if (height, width) != (sample.metadata.get("height"), sample.metadata.get("width")):
                return f"its image has {width}×{height} pixels, its metadata says otherwise"
    except ImageError as error:
        return f"its image is {error.reason}"
    except ValueError as error:
        return str(error)
    return None


def _index_reasons(beside: Path, samples: list[list[Member]]) -> list[str]:
    try:
        same = beside.read_bytes() == write_index(samples)
    except FileNotFoundError:
        return ["its .idx is missing (readers then walk the tar)"]
    except OSError as error:
        return [f"its .idx cannot be read ({error.strerror})"]
    return [] if same else ["its .idx is not the index of this tar"]


def _shortened(faults: list[str]) -> list[str]:
    more = len(faults) - _NAMED
    return [*faults[:_NAMED], f"{more} more of its samples are damaged"] if more > 0 else faults
