"""Replay: what a run was given, from its manifest and a few numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_shards.errors import UserError
from data_shards.loader import Loader
from data_shards.manifest import FILE, Manifest
from data_shards.order import Stream
from data_shards.ordering.mixture import Mixture
from data_shards.replay import ManifestOnly, replay, replay_words
from data_shards.stream import ShardSet
from tests.data_shards.pictures import Thumbnail, listed, pack_into


def lines(*words: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in replay_words([str(word) for word in words])]


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """A set of 30 samples and one of 17."""
    pack_into(tmp_path / "a", listed(30), samples_per_shard=7)
    pack_into(tmp_path / "b", listed(17), samples_per_shard=4)
    return tmp_path / "a", tmp_path / "b"


@pytest.mark.parametrize("world", [1, 2, 4])
def test_it_names_what_the_loader_gives_each_rank(world: int, two: tuple[Path, Path]) -> None:
    for step in (0, 3, 7):
        found = lines(two[0], f"step={step}", "batch=8", "seed=3", f"world={world}")
        for rank in range(world):
            with Loader(ShardSet(two[0]), Thumbnail(), batch=8, seed=3, rank=rank, world=world) as loader:
                loader.load_state_dict({"consumed": 8 * step})
                expected = next(iter(loader)).indices.tolist()
            assert [line["index"] for line in found if line["rank"] == rank] == expected


def test_key_and_shard_are_those_of_the_index(two: tuple[Path, Path]) -> None:
    shards = ShardSet(two[0])
    for line in lines(two[0], "batch=30"):
        shard, sample = divmod(line["index"], 7)
        assert line["shard"] == shards.shards[shard].name
        assert line["key"] == shards.key(shard, sample)
        assert int(line["key"].partition("-")[0]) == line["index"], "packed in the order of the listing"


def test_keys_are_null_where_the_shard_is_not_at_hand(two: tuple[Path, Path], tmp_path: Path) -> None:
    whole = lines(two[0], "batch=30")
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / FILE).write_bytes((two[0] / FILE).read_bytes())
    assert lines(alone, "batch=30") == [{**line, "key": None} for line in whole]
    gone = whole[0]["shard"]
    (two[0] / gone).unlink()
    assert lines(two[0], "batch=30") == [{**line, "key": None} if line["shard"] == gone else line for line in whole]


def test_several_sets_are_mixed_as_the_stream_mixes_them(two: tuple[Path, Path]) -> None:
    mixture = Mixture([ShardSet(path).counts for path in two], ["0.6", "0.4"], seed=5)
    found = lines(*two, "weights=0.6,0.4", "step=4", "batch=10", "seed=5")
    located = mixture.locate(np.arange(40, 50))
    assert [line["index"] for line in found] == located.index.tolist()
    assert [line["set"] for line in found].count(str(two[0])) == 6
    for line, shard in zip(found, located.shard.tolist(), strict=True):
        number, own = mixture.set_of(shard)
        assert (line["set"], line["shard"]) == (str(two[number]), ManifestOnly(two[number]).shards[own].name)
        assert int(line["key"].partition("-")[0]) == line["index"] - 30 * number


def test_a_set_that_grew_is_replayed_with_its_history(two: tuple[Path, Path]) -> None:
    counts = ShardSet(two[0]).counts
    stream = Stream(counts, seed=2, history=[(0, 3), (42, 5)])
    for step in range(12):
        found = lines(two[0], f"step={step}", "batch=8", "seed=2", "history=0:3,42:5")
        assert [line["index"] for line in found] == stream.locate(np.arange(8 * step, 8 * step + 8)).index.tolist()
    words = ["batch=8", "seed=2", "history=0:3,42:5"]
    # Epoch 2 begins at 42, and the first batch in it, number 6, at 48.
    assert lines(two[0], "epoch=2", "step=1", *words) == lines(two[0], "step=7", *words)
    mixed = lines(*two, "weights=1,1", "step=9", "batch=8", "history=0:3,42:5/")
    mixture = Mixture([counts, ShardSet(two[1]).counts], [1, 1], histories=[((0, 3), (42, 5)), None])
    assert [line["index"] for line in mixed] == mixture.locate(np.arange(72, 80)).index.tolist()


def test_a_shard_set_serves_as_its_manifest_does(two: tuple[Path, Path]) -> None:
    assert list(replay(ShardSet(two[0]), step=1, batch=8)) == list(replay_words([str(two[0]), "step=1", "batch=8"]))


def test_another_shard_of_the_same_name_gives_no_keys(two: tuple[Path, Path]) -> None:
    name = Manifest.load(two[0]).shards[0].name
    for suffix in (".tar", ".idx"):
        (two[0] / name).with_suffix(suffix).write_bytes((two[1] / name).with_suffix(suffix).read_bytes())
    assert {line["key"] for line in lines(two[0], "batch=30") if line["shard"] == name} == {None}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["batch=8"], "replay: no directory is given; give one with a manifest.json, or several and weights=."),
        (["A"], "batch: not given; give the global batch size of the run, such as batch=256."),
        (["A", "bach=3"], "bach=3: is no setting of replay; settings are seed="),
        (["A", "batch=many"], "batch: 'many' is no number; give a whole number, such as batch=1."),
        (["A", "batch=0"], "batch: 0 is too small; give at least 1."),
        (["A", "batch=8", "step=-1"], "step: -1 is too small; give at least 0."),
        (["A", "batch=3", "world=2"], "batch: 3 samples cannot be shared equally by 2 processes; 2 or 4 can."),
        (["A", "batch=2", "split=val"], "has no split 'val'; it has train."),
        (["A", "B", "batch=2"], "weights: not given for 2 shard sets; give one for each, such as weights=0.7,0.3."),
        (["A", "B", "batch=2", "weights=1"], "weights: 1 for 2 shard sets; give one for each set."),
        (["A", "B", "batch=2", "weights=1,x"], "weights: 1,x are not all numbers; give one for each set"),
        (["A", "B", "batch=2", "weights=1,1", "epoch=1"], "epoch: epochs of several sets do not end together; give"),
        (["A", "batch=2", "history=0:3,40:5"], "history: '0:3,40:5' lets the set grow at 40; it begins at 0 and grows"),
        (["A", "batch=2", "history=21:5"], "lets the set grow at 21; it begins at 0 and grows between two epochs."),
        (["A", "batch=2", "history=0:9"], "history: '0:9' names 9 shards; "),
        (["A", "batch=2", "history=3"], "history: '3' is not made of position:shards; write it as 0:100,1281167:120."),
        (["A", "batch=2", "history=0:5/0:5"], "history: '0:5/0:5' is for 2 shard sets; 1 are given; put / between."),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], sentence: str, two: tuple[Path, Path]) -> None:
    places = {"A": two[0], "B": two[1]}
    with pytest.raises(UserError) as error:
        lines(*[places.get(word, word) for word in words])
    assert sentence in str(error.value)
