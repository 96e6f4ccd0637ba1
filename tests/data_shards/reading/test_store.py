"""Reading ranges of shards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data_shards.reading.store import OpenFile, ShardStore


def test_a_file_that_is_put_out_during_a_read_stays_open_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.tar").write_bytes(b"first")
    (tmp_path / "b.tar").write_bytes(b"other")
    names = ["a.tar", "b.tar"]
    store = ShardStore(lambda shard: OpenFile(tmp_path / names[shard]), lambda shard: names[shard], limit=1)
    pread = os.pread
    reads = []

    def interrupted(descriptor: int, size: int, offset: int) -> bytes:
        reads.append(descriptor)
        if len(reads) == 1:  # as another thread would, between the look-up and the read
            assert store.read(1, 0, 5) == b"other"
        return pread(descriptor, size, offset)

    monkeypatch.setattr("data_shards.reading.store.os.pread", interrupted)
    assert store.read(0, 0, 5) == b"first"
    assert len(store._files) == 1
