"""The hash of a shard: every bit counts, and it is what was found while the shard was written."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from data_shards.shard_hash import hash_of
from data_shards.stream import ShardSet
from tests.data_shards.pictures import listed, pack_into


def test_it_is_that_of_the_manifest_and_of_the_definition(tmp_path: Path) -> None:
    reader = listed(7)
    manifest = pack_into(tmp_path, reader, samples_per_shard=4)
    for shard in manifest.shards:
        assert hash_of(tmp_path / shard.name) == shard.hash
        content = (tmp_path / shard.name).read_bytes()
        for *_, image in reader.images:
            content = content.replace(image, hashlib.sha256(image).digest())
        assert hashlib.sha256(content).hexdigest() == shard.hash


def test_every_single_bit_counts(tmp_path: Path) -> None:
    shard = pack_into(tmp_path, listed(3)).shards[0]
    path = tmp_path / shard.name
    whole = path.read_bytes()
    index = ShardSet(tmp_path)._index(0)
    inside = [int(index.offset[1]) + 5, int(index.offset[1]) - 500, len(whole) - 1, 0]
    for at in [*inside, *np.random.default_rng(1).integers(0, len(whole), 300).tolist()]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            assert hash_of(path) != shard.hash, at
        except ValueError:  # a header was hit
            continue


def test_a_tar_that_gets_shorter_while_it_is_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = pack_into(tmp_path, listed(2)).shards[0]
    pread = os.pread
    monkeypatch.setattr("data_shards.shard_hash.os.pread", lambda file, size, at: pread(file, size, at)[: 1000 - at])
    with pytest.raises(OSError, match="ends before byte"):
        hash_of(tmp_path / shard.name)
