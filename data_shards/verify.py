"""Is a shard set what its manifest says: every tar is hashed and walked again, on request every image decoded."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from data_shards import images
from data_shards.errors import ImageError
from data_shards.examine import cores
from data_shards.index import Index, index_of, samples_in, write_index
from data_shards.manifest import Manifest, Shard
from data_shards.progress import Progress


class Damage(NamedTuple):
    """What is wrong with one shard."""

    shard: str
    reason: str


def verify(directory: Path, decode: bool = False, progress: Progress | None = None) -> list[Damage]:
    """Everything that is wrong with the shards of a directory; empty when they are whole.

    Each tar is compared with the hash in the manifest and with its index; with `decode` every pixel is decoded too.
    Raises `ShardError` where there is no manifest to compare with.
    """
    directory = Path(directory)
    manifest = Manifest.load(directory)
    progress = progress or Progress(quiet=True)
    progress.total = sum(shard.samples for shard in manifest.shards)
    damages: list[Damage] = []
    with ThreadPoolExecutor(cores(), thread_name_prefix="verify") as pool:
        try:
            for shard, reasons in zip(
                manifest.shards, pool.map(partial(_damages_of, directory, decode), manifest.shards), strict=True
            ):
                damages += [Damage(shard.name, reason) for reason in reasons]
                progress.update(shard.samples, damages=len(damages))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return damages


def _damages_of(directory: Path, decode: bool, shard: Shard) -> list[str]:
    path = directory / shard.name
    digest = hashlib.sha256()
    try:
        size = path.stat().st_size
        if size != shard.bytes:
            return [f"has {size} bytes, the manifest says {shard.bytes}"]
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != shard.hash:
            return ["its bytes are not those that were packed (hash)"]
        samples = samples_in(path)
    except FileNotFoundError:
        return ["is missing"]
    except (OSError, ValueError) as error:
        return [f"cannot be read ({error})"]
    if len(samples) != shard.samples:
        return [f"holds {len(samples)} samples, the manifest says {shard.samples}"]
    reasons = []
    beside = path.with_suffix(".idx")
    if not beside.exists():
        reasons.append("its .idx is missing (readers then walk the tar)")
    elif beside.read_bytes() != write_index(samples):
        reasons.append("its .idx is not the index of this tar; delete it")
    if decode:
        reasons += _undecodable(path, index_of(samples))
    return reasons


def _undecodable(path: Path, index: Index) -> list[str]:
    reasons = []
    with open(path, "rb") as file:
        for number, (offset, size) in enumerate(zip(index.offset.tolist(), index.size.tolist(), strict=True)):
            try:
                images.check(os.pread(file.fileno(), size, offset), "full")
            except ImageError as error:
                reasons.append(f"sample {number} at byte {offset} is {error.reason}")
    return reasons
