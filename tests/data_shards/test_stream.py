"""Reading one split of a shard set."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from data_shards import stream
from data_shards.errors import ShardError
from data_shards.reading.store import ShardStore
from data_shards.stream import ShardSet
from tests.data_shards.pictures import Listed, jpeg, listed, pack_into


def test_samples_are_read_by_shard_and_number_and_by_index(tmp_path: Path) -> None:
    reader = listed(10, test=3)
    pack_into(tmp_path, reader, samples_per_shard=4)
    train = ShardSet(tmp_path)
    assert (train.samples, train.counts.tolist(), train.classes) == (10, [4, 4, 2], ("class0", "class1", "class2"))
    assert [train.image(index) for index in range(10)] == [image for *_, image in reader.images[:10]]
    assert train.read(2, 1) == reader.images[9][3]
    assert train.key(2, 1) == "000000009-0_9"
    assert train.labels().tolist() == [index % 3 for index in range(10)]
    assert ShardSet(tmp_path, "test").image(2) == reader.images[12][3]


def test_samples_without_a_label_have_minus_one(tmp_path: Path) -> None:
    pack_into(tmp_path, Listed([("a", "train", None, jpeg(1)), ("b", "train", "x", jpeg(2))]))
    assert ShardSet(tmp_path).labels().tolist() == [-1, 0]


def test_spread_indices_are_even(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_into(tmp_path, listed(10), samples_per_shard=3)
    train = ShardSet(tmp_path)
    assert train.spread(3).tolist() == [0, 4, 9]
    assert train.spread(100).tolist() == list(range(10))
    monkeypatch.setattr(ShardSet, "is_fetched", True)
    monkeypatch.setattr("data_shards.stream._FEW", 2)
    assert train.spread(100).tolist() == list(range(6)), "to look must not fetch them all"


def test_tars_without_an_index_are_read_by_their_headers(tmp_path: Path) -> None:
    reader = listed(5)
    pack_into(tmp_path, reader)
    (tmp_path / "train-000000.idx").unlink()
    assert ShardSet(tmp_path).image(3) == reader.images[3][3]


def test_few_files_and_indices_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = listed(40)
    pack_into(tmp_path, reader, samples_per_shard=2)
    monkeypatch.setattr(stream, "_INDICES", 3)
    train = ShardSet(tmp_path)
    train._store = ShardStore(train._open, train.place, limit=2)
    failures = []

    def read_all(seed: int) -> None:
        for index in np.random.default_rng(seed).permutation(40).tolist():
            if train.image(index) != reader.images[index][3]:
                failures.append(index)

    threads = [threading.Thread(target=read_all, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(train._indices) <= 3
    assert len(train._store._files) <= 2


def test_a_missing_split_or_shard_is_named(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(10), samples_per_shard=4)
    with pytest.raises(ShardError, match="has no split 'test'; it has train"):
        ShardSet(tmp_path, "test")
    (tmp_path / "train-000001.tar").unlink()
    with pytest.raises(ShardError, match=r"train-000001\.tar: is missing; bring it back"):
        ShardSet(tmp_path)


def test_a_shard_that_goes_missing_or_is_cut_off_under_a_run_is_named(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(10), samples_per_shard=4)
    train = ShardSet(tmp_path)
    (tmp_path / "train-000002.tar").unlink()
    with pytest.raises(ShardError, match=r"train-000002\.tar: is missing"):
        train.read(2, 0)
    tar = tmp_path / "train-000000.tar"
    whole = tar.read_bytes()
    train.read(0, 0)
    tar.write_bytes(whole[:2000])
    with pytest.raises(ShardError, match=r"train-000000\.tar: ends before byte"):
        train.read(0, 3)
    (tmp_path / "train-000002.tar").touch()
    with pytest.raises(ShardError, match=rf"train-000000\.tar: has 2000 bytes; the manifest says {len(whole)}"):
        ShardSet(tmp_path).read(0, 3)


def test_an_index_of_another_tar_is_refused(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(10), samples_per_shard=4)
    (tmp_path / "train-000000.idx").write_bytes((tmp_path / "train-000002.idx").read_bytes())
    with pytest.raises(ShardError, match=r"train-000000\.idx: describes 2 samples .* says 4 samples"):
        ShardSet(tmp_path).read(0, 0)


def test_an_index_that_lies_by_a_block_is_refused(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(10), samples_per_shard=4)
    path = tmp_path / "train-000000.idx"
    members = [line.split(b" ", 3) for line in path.read_bytes().splitlines()[1:]]
    moved = [b" ".join([kind, b"%d" % (int(offset) + 512), size, rest]) for kind, offset, size, rest in members]
    path.write_bytes(b"v1.2 4\n" + b"\n".join(moved) + b"\n")
    with pytest.raises(
        ShardError, match=r"train-000000\.idx: describes 4 samples .* not those in the tar; .*delete the"
    ):
        ShardSet(tmp_path).read(0, 0)
