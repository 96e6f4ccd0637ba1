"""A set that grows: when the new shards come in, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from data_shards.errors import ShardError
from data_shards.manifest import Manifest, Shard
from data_shards.order import Stream
from data_shards.ordering.growth import grown, history_from, state_of


def manifest_of(counts: list[int], classes: tuple[str, ...] = ("cat", "dog")) -> Manifest:
    """A manifest of shards with these numbers of samples, and a test split among them."""
    shards = [Shard(f"train-{n:06d}.tar", "train", count, 10 * count, f"{n:064x}", 0) for n, count in enumerate(counts)]
    shards.insert(1, Shard("test-000000.tar", "test", 9, 90, "f" * 64, 0))
    return Manifest(shards=tuple(shards), classes=classes, totals={}, source={}, settings={})


def test_new_shards_come_in_with_the_next_epoch() -> None:
    counts = [4, 6, 5, 5]
    assert grown([(0, 2)], counts[:2], 13) == ((0, 2),), "nothing was added"
    assert grown([(0, 2)], counts[:3], 0) == ((0, 3),), "nothing was consumed"
    assert grown([(0, 2)], counts[:3], 1) == ((0, 2), (10, 3))
    assert grown([(0, 2)], counts[:3], 10) == ((0, 2), (10, 3)), "the epoch is just over"
    assert grown([(0, 2)], counts[:3], 11) == ((0, 2), (20, 3))
    assert grown([(0, 2), (20, 3)], counts, 21) == ((0, 2), (20, 3), (35, 4))
    assert grown([(0, 2), (20, 3)], counts, 20) == ((0, 2), (20, 4)), "the epoch of three shards has not begun"
    assert grown([(0, 2), (20, 3)], counts, 15) == ((0, 2), (20, 4))


def test_the_old_epochs_are_as_they_were_and_numbers_go_on() -> None:
    counts = [4, 6, 5]
    before, after = Stream(counts[:2], seed=8), Stream(counts, seed=8, history=[(0, 2), (20, 3)])
    for mine, old in zip(after.locate(np.arange(20)), before.locate(np.arange(20)), strict=True):
        assert mine.tolist() == old.tolist()
    fresh = Stream(counts, seed=8)
    for mine, new in zip(after.locate(np.arange(20, 50)), fresh.locate(np.arange(30, 60)), strict=True):
        assert mine.tolist() == new.tolist(), "epoch 2 of the larger set, as if it had been so large from the start"
    assert [after.begin_of(epoch) for epoch in range(5)] == [0, 10, 20, 35, 50]
    assert [after.epoch_of(position) for position in (0, 9, 10, 19, 20, 34, 35)] == [0, 0, 1, 1, 2, 2, 3]
    assert after.samples == 15


def test_substitutes_of_an_old_epoch_come_from_the_old_shards() -> None:
    before, after = Stream([4, 6], seed=8), Stream([4, 6, 500], seed=8, history=[(0, 2), (20, 3)])
    drawn = [after.substitute(1, 0, 2, attempt) for attempt in range(60)]
    assert drawn == [before.substitute(1, 0, 2, attempt) for attempt in range(60)]
    assert 2 in {after.substitute(2, 0, 2, attempt)[0] for attempt in range(60)}


def test_a_history_goes_through_a_checkpoint() -> None:
    counts = [4, 6]
    state = json.loads(json.dumps(state_of(manifest_of(counts), "train", ((0, 2),))))
    assert history_from(state, manifest_of(counts), "train", 13, "DIR") == ((0, 2),)
    larger = manifest_of([*counts, 7], ("cat", "dog", "eel"))
    assert history_from(state, larger, "train", 13, "DIR") == ((0, 2), (20, 3))
    again = state_of(larger, "train", ((0, 2), (20, 3)))
    assert history_from(again, larger, "train", 30, "DIR") == ((0, 2), (20, 3))


def test_a_set_whose_first_shards_have_changed_is_refused() -> None:
    state = state_of(manifest_of([4, 6]), "train", ((0, 2),))
    altered = manifest_of([4, 6, 7])
    shard = dataclasses.replace(altered.shards[0], hash="0" * 63 + "1")
    other_bytes = dataclasses.replace(altered, shards=(shard, *altered.shards[1:]))
    for changed in (
        manifest_of([4]),
        manifest_of([4, 7]),
        manifest_of([6, 4]),
        manifest_of([4, 6], ("dog", "cat")),
        manifest_of([4, 6], ("cat",)),
        other_bytes,
    ):
        with pytest.raises(ShardError, match="DIR: it does not begin with the 2 shards and 2 classes of the run"):
            history_from(state, changed, "train", 3, "DIR")
    with pytest.raises(ShardError):
        history_from(state, manifest_of([4, 6]), "test", 3, "DIR")
