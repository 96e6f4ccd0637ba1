"""Which samples any batch of a run holds: one line of JSON for each, from nothing but the manifests.

    replay DIR seed=3 step=51200 world=8 batch=4096
    replay DIR DIR weights=0.7,0.3 step=51200 batch=4096            several sets mixed
    replay DIR step=51200 batch=4096 history=0:100,1281167:120      a set that grew, as its checkpoint says

Keys are read from the shards that are at hand, and are null elsewhere.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_shards.errors import ShardError, UserError
from data_shards.index import Index, read_index
from data_shards.manifest import Manifest, Shard
from data_shards.order import check_batch
from data_shards.ordering.growth import History
from data_shards.ordering.mixture import Mixture
from data_shards.reading.store import OpenFile, ShardStore
from data_shards.tar import BLOCK, name_in

SETTINGS = {
    "seed": "0",
    "epoch": None,
    "step": "0",
    "world": "1",
    "batch": None,
    "lanes": "128",
    "split": "train",
    "weights": None,
    "history": None,
}
_LEAST = {"world": 1, "batch": 1, "lanes": 1}


class Listing(Protocol):
    """What a replay has to know of a split: a `ShardSet`, or its manifest alone."""

    directory: Path
    shards: tuple[Shard, ...]
    counts: NDArray[np.int64]

    def key(self, shard: int, sample: int) -> str:
        """The key of a sample. Raises `ShardError` where the shard is not at hand."""


class ManifestOnly:
    """A split of a shard set by its manifest; any of its shards may be elsewhere. Raises `ShardError`."""

    def __init__(self, directory: Path | str, split: str = "train") -> None:
        self.directory = Path(directory)
        manifest = Manifest.load(self.directory)
        self.shards = manifest.of(split)
        if not self.shards:
            held = ", ".join(manifest.splits) or "no samples"
            raise ShardError(str(directory), f"has no split {split!r}", f"it has {held}")
        self.counts = np.array([shard.samples for shard in self.shards], np.int64)
        self._store = ShardStore(self._open, lambda shard: str(self.directory / self.shards[shard].name))
        self._index = functools.lru_cache(maxsize=64)(self._read_index)

    def key(self, shard: int, sample: int) -> str:
        """The key of a sample: its name in the tar up to the first dot."""
        offset = int(self._index(shard).offset[sample])
        directory, slash, base = name_in(self._store.read(shard, offset - BLOCK, BLOCK)).rpartition("/")
        return directory + slash + base.partition(".")[0]

    def _open(self, shard: int) -> OpenFile:
        path = self.directory / self.shards[shard].name
        try:
            return OpenFile(path)
        except FileNotFoundError:
            raise ShardError.missing(path) from None

    def _read_index(self, shard: int) -> Index:
        index = read_index(self.directory / self.shards[shard].name)
        if len(index) != self.shards[shard].samples:
            raise ShardError.missing(self.directory / self.shards[shard].name)  # another shard of this name
        return index


def replay(
    *sets: Listing,
    step: int,
    batch: int,
    epoch: int | None = None,
    seed: int = 0,
    world: int = 1,
    lanes: int = 128,
    weights: Sequence[float | str] | None = None,
    histories: Sequence[History | None] | None = None,
) -> Iterator[str]:
    """Lines of JSON (rank, index, key, shard; of several sets also set) of one global batch, by rank and row.

    `step` counts batches from 0 since the start of the run or, with `epoch`, those that begin in that epoch. `weights`
    are those of the sets; `histories` is the history of each that has grown (`growth.py`). Raises `UserError`.
    """
    check_batch(batch, world)
    if weights is None and len(sets) > 1:
        raise UserError(
            "weights", f"not given for {len(sets)} shard sets", "give one for each, such as weights=0.7,0.3"
        )
    counts = [one.counts for one in sets]
    stream = Mixture(counts, weights or [1], seed=seed, lanes=lanes, histories=histories)
    number = step
    if epoch is not None:
        if len(sets) > 1:
            raise UserError("epoch", "epochs of several sets do not end together", "give step= since the start")
        number += -(-stream.streams[0].begin_of(epoch) // batch)
    for rank in range(world):
        located = stream.locate(stream.share(number * batch, (number + 1) * batch, rank, world))
        for shard, sample, index in zip(
            located.shard.tolist(), located.sample.tolist(), located.index.tolist(), strict=True
        ):
            one, own = stream.set_of(shard)
            line = {
                "rank": rank,
                "index": index,
                "key": _key(sets[one], own, sample),
                "shard": sets[one].shards[own].name,
            }
            yield json.dumps(line | ({"set": str(sets[one].directory)} if len(sets) > 1 else {}))


def replay_words(words: Sequence[str]) -> Iterator[str]:
    """The lines that the words of a command line ask for: directories, and key=value. Raises `UserError`."""
    given: dict[str, str | None] = dict(SETTINGS)
    directories = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or Path(word).exists():
            directories.append(word)
        elif name in given:
            given[name] = value
        else:
            right = f"settings are {' '.join(f'{name}=' for name in SETTINGS)}"
            raise UserError(word, "is no setting of replay", right)
    if not directories:
        raise UserError("replay", "no directory is given", "give one with a manifest.json, or several and weights=")
    if given["batch"] is None:
        raise UserError("batch", "not given", "give the global batch size of the run, such as batch=256")
    split, weights, history = str(given.pop("split")), given.pop("weights"), given.pop("history")
    numbers: dict[str, Any] = {name: _integer(name, value) for name, value in given.items() if value is not None}
    sets = [ManifestOnly(directory, split) for directory in directories]
    return replay(
        *sets,
        weights=None if weights is None else weights.split(","),
        histories=None if history is None else _histories(history, sets),
        **numbers,
    )


def _key(one: Listing, shard: int, sample: int) -> str | None:
    try:
        return one.key(shard, sample)
    except ShardError:  # the shard is not at hand; its name and the index say enough
        return None


def _integer(name: str, value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        raise UserError(name, f"{value!r} is no number", f"give a whole number, such as {name}=1") from None
    if number < _LEAST.get(name, 0):
        raise UserError(name, f"{number} is too small", f"give at least {_LEAST.get(name, 0)}")
    return number


def _histories(text: str, sets: Sequence[Listing]) -> list[History | None]:
    """position:shards,position:shards of each set, with / between sets and nothing for a set that has not grown."""
    parts = text.split("/")
    if len(parts) != len(sets):
        raise UserError("history", f"{text!r} is for {len(parts)} shard sets", f"{len(sets)} are given; put / between")
    return [_history(part, one) if part else None for part, one in zip(parts, sets, strict=True)]


def _history(text: str, one: Listing) -> History:
    """A history, when it can be one of that set."""
    try:
        history = tuple((int(begin), int(shards)) for begin, shards in (pair.split(":") for pair in text.split(",")))
    except ValueError:
        raise UserError(
            "history", f"{text!r} is not made of position:shards", "write it as 0:100,1281167:120"
        ) from None
    ends = np.cumsum(one.counts)
    before, samples = 0, 1
    for number, (position, shards) in enumerate(history):
        if not 0 < shards <= len(ends) or ends[shards - 1] == 0:
            raise UserError("history", f"{text!r} names {shards} shards", f"{one.directory} has {len(ends)}")
        if (position <= before or (position - before) % samples) if number else position:
            raise UserError(
                "history", f"{text!r} lets the set grow at {position}", "it begins at 0 and grows between two epochs"
            )
        before, samples = position, int(ends[shards - 1])
    return history
