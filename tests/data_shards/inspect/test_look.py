"""A look is bounded, evenly spread, and says what it could not read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from data_shards.images import probe
from data_shards.inspect import look as module
from data_shards.inspect.look import look, read_image, spread
from data_shards.manifest import Manifest
from tests.data_shards.pictures import listed, mixed, pack_into


def test_it_sees_what_the_images_say(tmp_path: Path) -> None:
    manifest = pack_into(tmp_path, mixed(), samples_per_shard=6)
    for split in manifest.splits:
        found = look(tmp_path, manifest, split)
        assert len(found.looks) == found.samples == manifest.samples(split)
        for seen in found.looks:
            info = probe(read_image(tmp_path, seen))
            assert (seen.format, (seen.height, seen.width)) == (info.format, info.upright)
        assert found.labels == Counter(seen.label or "" for seen in found.looks)
        assert found.labels_are_exact


def test_however_large_the_set_it_reads_so_many_shards_and_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = pack_into(tmp_path, listed(120), samples_per_shard=4)
    monkeypatch.setattr(module, "SHARDS", 5)
    monkeypatch.setattr(module, "SAMPLES", 10)
    monkeypatch.setattr(module, "EXACT_LABELS", 100)
    found = look(tmp_path, manifest, "train")
    numbers = [int(seen.source.partition("/")[2][:-4]) for seen in found.looks]
    assert numbers == [0, 3, 28, 31, 56, 59, 88, 91, 116, 119]
    assert found.weight == 12
    assert not found.labels_are_exact
    assert sum(found.labels.values()) == 120


def test_a_shard_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    manifest = pack_into(tmp_path, listed(12), samples_per_shard=3)
    (tmp_path / "train-000001.tar").unlink()
    (tmp_path / "train-000002.tar").write_bytes(b"\1" * 4096)
    (tmp_path / "train-000003.idx").unlink()
    found = look(tmp_path, manifest, "train")
    assert found.unread == ["train-000001.tar", "train-000002.tar"]
    assert len(found.looks) == 6
    assert sum(found.labels.values()) == 12
    assert look(tmp_path, Manifest.load(tmp_path), "train").looks == found.looks


def test_some_of_them_are_evenly_spaced(tmp_path: Path) -> None:
    manifest = pack_into(tmp_path, listed(9))
    looks = look(tmp_path, manifest, "train").looks
    assert spread(looks, 3) == [looks[0], looks[4], looks[8]]
    assert spread(looks, 50) == looks
    assert spread([], 3) == []
