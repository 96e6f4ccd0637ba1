"""Several sets as one, sets that grow, and what a cache is told: all seen through the loader."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.batch import Batch
from data_shards.errors import ShardError, UserError
from data_shards.ledger import Ledger, entries
from data_shards.loader import Loader
from data_shards.loading.ahead import shards_ahead
from data_shards.loading.sets import ShardSets
from data_shards.manifest import Manifest
from data_shards.order import Stream
from data_shards.reading.cache import Statistics
from data_shards.stream import ShardSet
from tests.data_shards.batches import copied, rows
from tests.data_shards.pictures import Listed, Thumbnail, broken_jpeg, jpeg, listed, pack_into


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Sets of 30 and of 12 samples; number 3 of the second cannot be decoded."""
    out = tmp_path_factory.mktemp("two")
    pack_into(out / "a", listed(30), samples_per_shard=8)
    names = [(str(n), "train", "x", broken_jpeg(n) if n == 3 else jpeg(100 + n)) for n in range(12)]
    pack_into(out / "b", Listed(names), samples_per_shard=5, probe="header")
    return out / "a", out / "b"


def mixed(two: tuple[Path, Path], weights: Sequence[float] = (3, 1)) -> ShardSets:
    return ShardSets([ShardSet(path) for path in two], weights)


def batches(sets: ShardSets, count: int, state: dict[str, Any] | None = None, **options: Any) -> list[Batch]:
    with Loader(sets, Thumbnail(), **{"ledger": Ledger(max_rate=1), **options}) as loader:
        loader.load_state_dict(state or {"consumed": 0})
        return [copied(batch) for batch in itertools.islice(loader, count)]


def test_sets_come_by_their_weights_and_each_as_if_alone(two: tuple[Path, Path]) -> None:
    indices = np.concatenate([batch.indices for batch in batches(mixed(two), 30, batch=8, seed=5)])
    first, second = indices[indices < 30], indices[indices >= 30] - 30
    assert (len(first), len(second)) == (180, 60)
    for number, share in ((1, first), (6, first)):
        assert set(Counter(share[: 30 * number].tolist()).values()) == {number}, "exact in each epoch of the set"
    alone = np.concatenate([batch.indices for batch in batches(ShardSets([ShardSet(two[0])]), 23, batch=8, seed=5)])
    assert first.tolist() == alone[:180].tolist()


def test_a_mixture_does_not_depend_on_ranks_or_restarts(two: tuple[Path, Path]) -> None:
    whole = batches(mixed(two), 8, batch=12, seed=2)
    ranks = [batches(mixed(two), 8, batch=12, seed=2, rank=rank, world=4, threads=3) for rank in range(4)]
    assert rows([batch for rank in ranks for batch in rank]) == rows(whole)
    with Loader(mixed(two), Thumbnail(), batch=12, seed=2, ledger=Ledger(max_rate=1)) as loader:
        list(itertools.islice(loader, 3))
        state = json.loads(json.dumps(loader.state_dict()))
    assert rows(batches(mixed(two), 5, state, batch=12, seed=2)) == rows(whole[3:])
    with pytest.raises(UserError, match=r"had weights \[3, 1\], this one has \[1, 1\]; samples would be repeated"):
        batches(mixed(two, (1, 1)), 1, state, batch=12, seed=2)


def test_a_bad_sample_of_a_mixture_is_entered_with_its_set(two: tuple[Path, Path], tmp_path: Path) -> None:
    batches(mixed(two), 12, batch=8, ledger=Ledger(tmp_path / "bad.jsonl", max_rate=1))
    lines = list(entries(tmp_path / "bad.jsonl"))
    assert {(line["shard"], line["key"], line["root"]) for line in lines} == {
        ("train-000000.tar", "000000003-3", Manifest.load(two[1]).root)
    }


def test_a_mixture_needs_a_weight_for_each_set_and_no_sequence(two: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match="3 for 2 shard sets"):
        mixed(two, (1, 2, 3))
    with pytest.raises(UserError, match="several sets in sequence"):
        Loader(mixed(two), Thumbnail(), batch=4, shuffle=False)


def test_a_set_that_grows_ends_its_epoch_first(tmp_path: Path) -> None:
    pack_into(tmp_path / "now", listed(12), samples_per_shard=4)
    pack_into(tmp_path / "later", listed(20), samples_per_shard=4)
    with Loader(ShardSet(tmp_path / "now"), Thumbnail(), batch=4, seed=1) as loader:
        before = [copied(batch) for batch in itertools.islice(loader, 4)]
        state = json.loads(json.dumps(loader.state_dict()))
    later = ShardSets([ShardSet(tmp_path / "later")])
    with Loader(later, Thumbnail(), batch=4, seed=1) as loader:
        loader.load_state_dict(state)
        stream = iter(loader)
        after = [copied(next(stream)) for _ in range(9)]
        grown = json.loads(json.dumps(loader.state_dict()))
        rest = [copied(next(stream)) for _ in range(3)]
    drawn = np.concatenate([batch.indices for batch in before + after]).tolist()
    assert sorted(drawn[:24]) == sorted([*range(12)] * 2), "the epoch under way ends on the old shards"
    assert sorted(drawn[24:44]) == list(range(20)), "the next one has them all"
    assert rows(batches(later, 3, grown, batch=4, seed=1)) == rows(rest), "the state knows that it grew"
    with pytest.raises(ShardError, match="does not begin with the 5 shards"):
        batches(ShardSets([ShardSet(tmp_path / "now")]), 1, grown, batch=4, seed=1)


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (1, 4), (7, 16)])
def test_the_shards_of_the_next_batches_are_named_before_they_are_needed(rank: int, world: int) -> None:
    counts, batch = [50] * 400, 64
    stream = Stream(counts, seed=3, lanes=16, block=200)
    start = 31 * batch
    expected = shards_ahead(stream, start, batch, rank, world)
    assert len(expected) == len(set(expected))

    def needed(ahead: int) -> list[int]:
        positions = stream.share(start + ahead * batch, start + (ahead + 1) * batch, rank, world)
        return list(dict.fromkeys(stream.locate(positions).shard.tolist()))

    assert expected[: len(needed(0))] == needed(0), "what is needed first comes first"
    assert set(needed(16)) <= set(expected)
    unforeseen = [shard for ahead in range(40) for shard in needed(ahead) if shard not in expected]
    assert len(set(unforeseen)) <= 0.2 * len(expected)


def test_a_cache_is_told_which_shards_come(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, list[list[int]]] = {"a": [], "b": []}

    def expect(self: ShardSet, shards: Sequence[int]) -> None:
        told[self.directory.name].append(list(shards))

    monkeypatch.setattr(ShardSet, "expect", expect)
    batches(mixed(two), 20, batch=4)
    assert told == {"a": [], "b": []}, "shards in a directory need no fetching"
    monkeypatch.setattr(ShardSet, "is_fetched", True)
    monkeypatch.setattr(ShardSet, "statistics", lambda self: Statistics(hits=2, wait=0.5))
    batches(mixed(two), 20, batch=4)
    for name, shards in (("a", 4), ("b", 3)):
        assert 2 <= len(told[name]) <= 6, "not with every batch"
        assert set().union(*told[name]) == set(range(shards))
    assert mixed(two).statistics() == Statistics(hits=4, wait=1.0)
