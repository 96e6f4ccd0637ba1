"""Verifying a shard set names every damaged shard, and only those."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_shards.errors import ShardError
from data_shards.verify import Damage, verify
from tests.data_shards.pictures import Listed, broken_jpeg, jpeg, listed, pack_into


def test_a_whole_set_has_no_damage(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(9, test=2), samples_per_shard=4)
    assert verify(tmp_path) == verify(tmp_path, decode=True) == []


def test_every_kind_of_damage_is_named(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(12), samples_per_shard=2)
    shard = [tmp_path / f"train-00000{n}.tar" for n in range(6)]
    flipped = bytearray(shard[0].read_bytes())
    flipped[700] ^= 1
    shard[0].write_bytes(flipped)
    shard[1].write_bytes(shard[1].read_bytes()[:-600])
    shard[2].unlink()
    shard[3].with_suffix(".idx").unlink()
    shard[4].with_suffix(".idx").write_text("v1.2 0\n")
    found = verify(tmp_path)
    assert [damage.shard for damage in found] == [path.name for path in shard[:5]]
    for damage, words in zip(
        found, ("hash", "the manifest says", "is missing", "missing", "not the index"), strict=True
    ):
        assert words in damage.reason


def test_decoding_finds_images_that_were_bad_before_they_were_packed(tmp_path: Path) -> None:
    rows = [("a", "train", None, jpeg(1)), ("b", "train", None, broken_jpeg(2)), ("c", "train", None, jpeg(3))]
    pack_into(tmp_path, Listed(rows), probe="header")
    assert verify(tmp_path) == []
    (damage,) = verify(tmp_path, decode=True)
    assert damage.shard == "train-000000.tar"
    assert damage.reason.startswith("sample 1 at byte")
    assert damage.reason.endswith("is truncated")
    assert isinstance(damage, Damage)


def test_without_a_manifest_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"holds no manifest\.json"):
        verify(tmp_path)
