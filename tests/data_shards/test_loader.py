"""Batches: equal for every number of ranks and threads, resumable anywhere, and not stopped by a bad image."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_shards.batch import Arrays, Batch, Draw
from data_shards.errors import ShardError, UserError
from data_shards.loader import KEPT, Loader
from data_shards.stream import ShardSet
from tests.data_shards.batches import copied, load, rows
from tests.data_shards.pictures import Thumbnail, listed, pack_into


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """53 samples in shards of 10, the last of 3."""
    out = tmp_path_factory.mktemp("ragged")
    pack_into(out, listed(53), samples_per_shard=10)
    return out


def test_a_row_holds_its_sample_and_its_draw(ragged: Path) -> None:
    reader = listed(53)
    for batch in load(ragged, 9, batch=12, seed=5):
        for row, index in enumerate(batch.indices.tolist()):
            expected = Thumbnail().allocate(1)
            position = batch.consumed - 12 + row
            Thumbnail().write(reader.images[index][3], Draw(5, position // 53, index), expected, 0)
            assert all(np.array_equal(a[:, row], b[:, 0]) for a, b in zip(batch.arrays, expected, strict=True))
            assert batch.labels[row] == index % 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    world=st.sampled_from([1, 2, 3, 4, 6]),
    threads=st.integers(1, 4),
    prefetch=st.integers(1, 4),
    start=st.integers(0, 200),
    seed=st.integers(0, 5),
    shrunk=st.none() | st.lists(st.integers(0, 52), min_size=1, max_size=30, unique=True),
)
def test_global_batches_do_not_depend_on_ranks_or_threads(
    ragged: Path, world: int, threads: int, prefetch: int, start: int, seed: int, shrunk: list[int] | None
) -> None:
    subset = None if shrunk is None else np.array(shrunk)
    alone = load(ragged, 4, start, batch=12, seed=seed, subset=subset)
    ranks = [
        load(
            ragged,
            4,
            start,
            batch=12,
            seed=seed,
            subset=subset,
            rank=rank,
            world=world,
            threads=threads,
            prefetch=prefetch,
        )
        for rank in range(world)
    ]
    for step in range(4):
        assert rows([rank[step] for rank in ranks]) == rows([alone[step]])
        assert {len(rank[step].indices) for rank in ranks} == {12 // world}
        assert {rank[step].consumed for rank in ranks} == {start + 12 * (step + 1)}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([1, 2, 4]), st.sampled_from([4, 8, 16])), max_size=6))
def test_a_run_that_stops_and_goes_on_with_other_ranks_and_batches_loses_nothing(
    ragged: Path, legs: list[tuple[int, int, int]]
) -> None:
    consumed, seen = 0, []
    for steps, world, batch in [*legs, (30, 1, 8)]:
        for rank in range(world):
            leg = load(ragged, steps, consumed, batch=batch, rank=rank, world=world)
            seen += rows(leg)
        consumed += steps * batch
    straight = rows(load(ragged, consumed // 4, batch=4))
    assert sorted(seen) == straight
    epochs = consumed // 53
    assert all(seen_once >= epochs for seen_once in np.bincount([index for index, *_ in seen], minlength=53))


def test_the_state_after_a_batch_resumes_right_after_it(ragged: Path) -> None:
    with Loader(ShardSet(ragged), Thumbnail(), batch=8, prefetch=3) as loader:
        stream = iter(loader)
        for _ in range(5):
            last = next(stream)
        state = json.loads(json.dumps(loader.state_dict()))
        rest = [copied(next(stream)) for _ in range(3)]
    assert (state["consumed"], state["number"]) == (last.consumed, 5) == (40, 5)
    with Loader(ShardSet(ragged), Thumbnail(), batch=8) as loader:
        loader.load_state_dict(state)
        resumed = [copied(batch) for batch in itertools.islice(loader, 3)]
    assert [batch.number for batch in resumed] == [5, 6, 7]
    assert rows(resumed) == rows(rest)


def test_the_state_of_another_stream_is_refused(ragged: Path) -> None:
    with Loader(ShardSet(ragged), Thumbnail(), batch=8, seed=1) as loader:
        state = loader.state_dict()
        for name, other in (("seed", 2), ("lanes", 64), ("block", 8), ("weights", [1, 2]), ("subset", "ff")):
            with pytest.raises(UserError, match=rf"had {name} .* samples would be repeated or lost"):
                loader.load_state_dict({**state, name: other})
        with pytest.raises(UserError, match="had 2 shard sets, this one has 1; samples would be"):
            loader.load_state_dict({**state, "sets": state["sets"] * 2})
        with pytest.raises(ShardError, match="does not begin with the 6 shards and 3 classes of the run"):
            loader.load_state_dict({**state, "sets": [{**state["sets"][0], "first_shards": "ff"}]})


def test_a_subset_is_part_of_the_state(ragged: Path) -> None:
    states = []
    for subset in (np.arange(10), np.arange(1, 11)):
        with Loader(ShardSet(ragged), Thumbnail(), batch=8, subset=subset) as loader:
            states.append(loader.state_dict())
            loader.load_state_dict(states[-1])
    with pytest.raises(UserError, match="had subset"):
        loader.load_state_dict(states[0])


def test_iterating_again_goes_on_and_limits_count_per_iteration(ragged: Path) -> None:
    with Loader(ShardSet(ragged), Thumbnail(), batch=8, batches=3) as loader:
        assert len(loader) == 3
        parts = [[copied(batch) for batch in loader] for _ in range(2)]
        for batch in loader:
            broken_off = batch
            break
        after = next(iter(loader))
    assert [batch.number for batch in parts[0] + parts[1]] == [0, 1, 2, 3, 4, 5]
    assert (broken_off.number, after.number) == (6, 7)
    assert rows(parts[0] + parts[1]) == rows(load(ragged, 6, batch=8))


def test_one_iteration_at_a_time(ragged: Path) -> None:
    with Loader(ShardSet(ragged), Thumbnail(), batch=8) as loader:
        first = iter(loader)
        next(first)
        next(iter(loader))
        with pytest.raises(RuntimeError, match="this iteration has ended"):
            next(first)


@pytest.mark.parametrize("restart", [False, True])
def test_a_batch_stays_intact_until_three_more_were_requested(ragged: Path, restart: bool) -> None:
    with Loader(ShardSet(ragged), Thumbnail(), batch=8, prefetch=2) as loader:
        held: list[tuple[Batch, Batch]] = []
        stream = iter(loader)
        for step in range(20):
            if restart and step % 3 == 1:
                stream = iter(loader)
            batch = next(stream)
            held = [*held, (batch, copied(batch))][-KEPT - 1 :]
            for task in [task for pending in loader._pending for task in pending.tasks]:
                task.result()
            for given_out, copy in held:
                assert rows([given_out]) == rows([copy])


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [1, 8, 53, 64])
def test_in_sequence_every_sample_comes_once_and_ranks_agree_on_the_batches(
    ragged: Path, world: int, batch: int
) -> None:
    ranks = []
    for rank in range(world):
        with Loader(ShardSet(ragged), Thumbnail(), batch=batch, rank=rank, world=world, shuffle=False) as loader:
            ranks.append([copied(b) for b in loader])
            assert len(ranks[-1]) == len(loader)
    for step in range(len(ranks[0])):
        together = [index for rank in ranks for index in rank[step].indices.tolist()]
        assert together == list(range(step * batch, min((step + 1) * batch, 53)))
    assert ranks[0][-1].consumed == 53


@pytest.mark.parametrize("samples", [1, 2])
def test_a_set_smaller_than_a_batch_fills_it_many_times(samples: int, tmp_path: Path) -> None:
    pack_into(tmp_path, listed(samples))
    batches = load(tmp_path, 3, batch=16)
    counts = np.bincount(np.concatenate([batch.indices for batch in batches]))
    assert counts.tolist() == [48 // samples] * samples


def test_an_error_in_a_thread_reaches_the_caller_and_the_loader_still_closes(ragged: Path) -> None:
    class Broken(Thumbnail):
        def write(self, image: bytes, draw: Draw, arrays: Arrays, row: int) -> None:
            raise ZeroDivisionError

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), Loader(ShardSet(ragged), Broken(), batch=8) as loader:
        next(iter(loader))
    assert threading.active_count() == before


def test_the_wait_is_what_the_caller_waited(ragged: Path) -> None:
    release = threading.Event()

    class Slow(Thumbnail):
        def write(self, image: bytes, draw: Draw, arrays: Arrays, row: int) -> None:
            release.wait(0.05)
            super().write(image, draw, arrays, row)

    with Loader(ShardSet(ragged), Slow(), batch=4, threads=1) as loader:
        stream = iter(loader)
        assert next(stream).wait >= 0.15, "four rows of 0.05 s in one thread"
        release.set()


def test_a_batch_that_ranks_cannot_share_is_refused_with_what_would_do(ragged: Path) -> None:
    with pytest.raises(UserError, match="batch: 10 samples cannot be shared equally by 4 processes; 8 or 12 can"):
        Loader(ShardSet(ragged), Thumbnail(), batch=10, world=4)
    with pytest.raises(UserError, match="batch: 3 samples cannot be shared equally by 4 processes; 4 can"):
        Loader(ShardSet(ragged), Thumbnail(), batch=3, world=4)
    with pytest.raises(UserError, match="subset: 1 indices; it needs some, from 0 to 52"):
        Loader(ShardSet(ragged), Thumbnail(), batch=4, subset=np.array([53]))


def test_an_endless_loader_has_no_length(ragged: Path) -> None:
    with pytest.raises(TypeError, match="has no end"):
        len(Loader(ShardSet(ragged), Thumbnail(), batch=4))
