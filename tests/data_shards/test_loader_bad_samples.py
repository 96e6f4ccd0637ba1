"""A bad image keeps its place, is replaced the same way every time, and is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_shards.errors import OutputError, SampleRateError, ShardError
from data_shards.ledger import Ledger
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from tests.data_shards.batches import load, rows
from tests.data_shards.pictures import Listed, Thumbnail, broken_jpeg, jpeg, pack_into


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 samples in shards of 10; number 5, 6, 17 and all of the last shard cannot be decoded."""
    out = tmp_path_factory.mktemp("holed")
    bad = {5, 6, 17, *range(30, 40)}
    rows = [(str(n), "train", str(n % 3), broken_jpeg(n) if n in bad else jpeg(n)) for n in range(40)]
    pack_into(out, Listed(rows), samples_per_shard=10, probe="header")
    return out


def test_a_bad_sample_keeps_its_place_and_is_entered_in_the_ledger(holed: Path, tmp_path: Path) -> None:
    bad = {5, 6, 17, *range(30, 40)}
    ledger = Ledger(tmp_path / "bad.jsonl", max_rate=1)
    whole = load(holed, 10, batch=8, seed=3, ledger=ledger)
    order = load_indices(holed, 80)
    given_out = np.concatenate([batch.indices for batch in whole]).tolist()
    labels = np.concatenate([batch.labels for batch in whole]).tolist()
    for position, (meant, got, label) in enumerate(zip(order, given_out, labels, strict=True)):
        assert got not in bad
        assert label == got % 3, "the label is that of the substitute"
        assert got == meant or meant in bad
        if meant in bad and meant < 30:
            assert got // 10 == meant // 10, f"position {position}: a neighbour of the same shard stands in"
    lines = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert sorted(line["position"] for line in lines) == [p for p, meant in enumerate(order) if meant in bad]
    line = next(line for line in lines if line["key"].startswith("000000017"))
    assert (line["shard"], line["reason"], line["epoch"]) == ("train-000001.tar", "truncated", line["position"] // 40)
    shards = ShardSet(holed)
    assert shards.offset(1, 7) == line["offset"]
    assert ledger.bad == len(lines) == 26
    again = load(holed, 10, batch=8, seed=3, threads=4, ledger=Ledger(max_rate=1))
    assert rows(again) == rows(whole)
    halves = [load(holed, 10, batch=8, seed=3, rank=r, world=2, ledger=Ledger(max_rate=1)) for r in range(2)]
    assert rows(halves[0] + halves[1]) == rows(whole), "substitutes do not depend on the ranks"


def load_indices(directory: Path, count: int) -> list[int]:
    """The order itself, without reading any image."""
    loader = Loader(ShardSet(directory), Thumbnail(), batch=8, seed=3)
    return loader.stream.locate(np.arange(count)).index.tolist()


def test_a_subset_substitutes_from_itself(holed: Path) -> None:
    subset = np.array([5, 6, 8, 12])
    batches = load(holed, 5, batch=4, subset=subset, ledger=Ledger(max_rate=1))
    assert set(np.concatenate([batch.indices for batch in batches]).tolist()) == {8, 12}


def test_too_many_bad_samples_raise_the_alarm(holed: Path) -> None:
    with pytest.raises(SampleRateError, match=r"of the last \d+ samples cannot be decoded: \d+ truncated"):
        load(holed, 100, batch=8, ledger=Ledger(max_rate=0.2))


def test_nothing_but_bad_samples_is_an_error(tmp_path: Path) -> None:
    rows = [(str(n), "train", None, broken_jpeg(n)) for n in range(4)]
    pack_into(tmp_path, Listed(rows), probe="header")
    with pytest.raises(ShardError, match="nor can 32 drawn in its place"):
        load(tmp_path, 1, batch=4)


def test_a_ledger_that_cannot_be_written_is_a_sentence(holed: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        load(holed, 10, batch=8, ledger=Ledger(tmp_path / "no" / "folder.jsonl"))


def test_a_pass_in_sequence_says_which_rows_are_substitutes(holed: Path) -> None:
    with Loader(ShardSet(holed), Thumbnail(), batch=8, shuffle=False, ledger=Ledger(max_rate=1)) as loader:
        found = [(batch.own.tolist(), batch.indices.tolist()) for batch in loader]
    own = [flag for flags, _ in found for flag in flags]
    assert [index for index, flag in enumerate(own) if not flag] == [5, 6, 17, *range(30, 40)]
    assert all(index == place for place, index in enumerate(i for _, row in found for i in row) if own[place])
