"""A shard set that grows during a run: the epoch under way ends on the old shards, the next one takes the new ones in.

A history is what has to be known, ((0, 3), (1200, 5)): up to position 1200 epochs were made of the first 3 shards, from
there on of the first 5. The order (`order.Stream`) is a pure function of it and of the manifest. A checkpoint carries
it, with a hash of the shards that it names: the first shards of a set may not change, others may follow them.

    state = state_of(manifest, split, history)                       # what a checkpoint keeps
    history = history_from(state, manifest, split, consumed, where)  # when a run is resumed, maybe on more shards
    stream = Stream(counts, seed=seed, history=history)

A new run has the history ((0, all),). In a mixture every set has its own, in positions of its own stream
(`Dealing.before` says how many it has consumed).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from data_shards.errors import ShardError
from data_shards.manifest import Manifest

History = tuple[tuple[int, int], ...]


def grown(history: Sequence[tuple[int, int]], counts: ArrayLike, consumed: int) -> History:
    """The history of a run that has consumed so many samples and goes on with shards of these counts.

    `counts` begins with those of the shards that the history names.
    """
    history = tuple(history)
    counts = np.asarray(counts, np.int64)
    begin, shards = history[-1]
    assert len(counts) >= shards, (len(counts), shards)
    if len(counts) == shards:
        return history
    if consumed <= begin:  # the last growth has not come into effect; this one takes its place
        return (*history[:-1], (begin, len(counts)))
    epoch = int(counts[:shards].sum())
    return (*history, (begin - (begin - consumed) // epoch * epoch, len(counts)))


def state_of(manifest: Manifest, split: str, history: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """What a checkpoint keeps of a history, as plain JSON values."""
    shards, classes = history[-1][1], len(manifest.classes)
    return {
        "history": [list(entry) for entry in history],
        "classes": classes,
        "first_shards": _hash_of(manifest, split, shards, classes),
    }


def history_from(state: Mapping[str, Any], manifest: Manifest, split: str, consumed: int, where: str) -> History:
    """The history with which a run goes on after `consumed` samples, on the shards that the manifest has now.

    `where` names the set. Raises `ShardError` where its first shards or classes are not those that the run had.
    """
    history = tuple((int(begin), int(shards)) for begin, shards in state["history"])
    shards, classes = history[-1][1], int(state["classes"])
    counts = [shard.samples for shard in manifest.of(split)]
    if len(counts) < shards or _hash_of(manifest, split, shards, classes) != state["first_shards"]:
        raise ShardError(
            where,
            f"it does not begin with the {shards} shards and {classes} classes of the run to be resumed",
            "shards may be added behind those, but none of those may change; resume with what the run had, or start a "
            "new one",
        )
    return grown(history, counts, consumed)


def _hash_of(manifest: Manifest, split: str, shards: int, classes: int) -> str:
    """sha256 over the first shards of a split, and the first classes."""
    lines = [[shard.name, shard.samples, shard.bytes, shard.hash] for shard in manifest.of(split)[:shards]]
    text = json.dumps([split, lines, list(manifest.classes[:classes])], separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
