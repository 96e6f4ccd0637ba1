"""A damaged shard made anew: what is whole in it, and the rest from the source, in a file of its own.

Only bytes that have the hash of the manifest are put in its place. What cannot be had is named.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from data_shards.checking.members import number_in
from data_shards.manifest import Shard
from data_shards.packing.examine import cores
from data_shards.readers.reader import Entry
from data_shards.repair.origin import Origin, UnavailableError
from data_shards.repair.salvage import Salvaged, read_whole
from data_shards.sample import Sample
from data_shards.shard_writer import OpenShard

_READS = 16  # at once from a source that waits for a network
_AT_ONCE = 64  # samples in memory

Trust = Literal["all", "images", "nothing"]
"""What of a damaged shard is believed: all that agrees with itself, only the samples that are whole, or nothing."""


class Slot(NamedTuple):
    """A place of a shard: the sample that belongs there, as far as it is known."""

    number: int | None
    key: str | None = None
    entry: Entry | None = None


class Lost(NamedTuple):
    """A sample that cannot be had."""

    shard: str
    number: int | None
    key: str | None
    source: str | None
    why: str


@dataclass
class Plan:
    """How a shard is made anew. Without `slots` it is not known which samples it held."""

    shard: Shard
    found: Salvaged
    slots: list[Slot] | None = None
    why: str = ""

    def take_keys(self) -> bool:
        """Fill the slots where the shard itself tells its keys."""
        if self.found.keys is not None:
            self.slots = [Slot(number_in(key), key) for key in self.found.keys]
        return self.slots is not None


@dataclass
class Staged:
    """A shard that was made anew, with its index, in `folder`; what is missing from it is `lost`."""

    folder: Path
    shard: Shard
    lost: list[Lost] = field(default_factory=list)
    from_source: int = 0

    def remove(self) -> None:
        """Remove its files."""
        for name in (self.shard.name, self.shard.index_name):
            (self.folder / name).unlink(missing_ok=True)


def rebuild(
    plan: Plan, directory: Path, folder: Path, origin: Origin, *, trust: Trust = "all", seen: Callable[[], None]
) -> Staged:
    """Write a shard into `folder`: each sample from the damaged tar where it is whole there, else from `origin`.

    Some samples at most are in memory; `seen` is called after each. Raises `OSError` where `folder` cannot be written.
    """
    staged = Staged(folder, plan.shard)
    tar = OpenShard(folder / plan.shard.name, plan.shard.split)
    try:
        for sample in _samples(plan, directory, origin, trust, staged):
            seen()
            if sample is not None:
                tar.append(sample.members(), sample.digest)
        staged.shard = tar.finish(plan.shard.first_index)
    finally:
        tar.file.close()
    return staged


def _samples(plan: Plan, directory: Path, origin: Origin, trust: Trust, staged: Staged) -> Iterator[Sample | None]:
    """The samples of a plan in order, None for each that is lost."""
    shard, whole = plan.shard, plan.found.whole if trust != "nothing" else {}
    slots = plan.slots
    if slots is None:  # what is whole is kept, the others have no names
        slots = [Slot(number_in(key), key) for key in sorted(whole, key=lambda key: number_in(key) or 0)]
        staged.lost += [Lost(shard.name, None, None, None, plan.why)] * (shard.samples - len(slots))
    with contextlib.ExitStack() as stack:
        descriptor = -1
        if whole:
            descriptor = os.open(directory / shard.name, os.O_RDONLY)
            stack.callback(os.close, descriptor)
        believed = plan.found if trust == "all" else Salvaged()
        waits = getattr(origin.reader, "waits", False)
        pool = stack.enter_context(ThreadPoolExecutor(_READS if waits else cores(), thread_name_prefix="repair"))

        def make(slot: Slot) -> Sample | Lost:
            if slot.key in whole:
                with contextlib.suppress(ValueError, OSError):
                    return read_whole(descriptor, whole[slot.key], shard.split, origin.classes)
            return _from_source(plan, slot, origin, believed)

        for at in range(0, len(slots), _AT_ONCE):
            some = slots[at : at + _AT_ONCE]
            for slot, made in zip(some, pool.map(make, some), strict=True):
                if isinstance(made, Lost):
                    staged.lost.append(made)
                    yield None
                else:
                    staged.from_source += slot.key not in whole
                    yield made


def _from_source(plan: Plan, slot: Slot, origin: Origin, believed: Salvaged) -> Sample | Lost:
    """The sample of a slot as its source gives it, unless what is believed of the shard says that it is another."""
    story = believed.stories.get(slot.key or "")
    source = slot.entry.name if slot.entry else str(story["source"]) if story and "source" in story else None
    lost = Lost(plan.shard.name, slot.number, slot.key, source, origin.why or "its source no longer lists it")
    if origin.why is not None or slot.entry is None or slot.number is None:
        return lost
    try:
        sample = origin.sample(slot.number, slot.entry, slot.key, story)
    except UnavailableError as error:
        return lost._replace(why=str(error))
    sizes = believed.sizes.get(slot.key or "")
    if sizes is not None and sizes != [len(content) for _, content in sample.members()]:
        return lost._replace(why="its source has other bytes now")
    return sample
