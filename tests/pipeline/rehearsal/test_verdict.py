"""What limits a loader is read off its figures, and each limit has another next step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from data_shards.loading.workers import Work
from data_shards.reading.cache import Statistics
from pipeline.rehearsal.measure import Parts, Rehearsal
from pipeline.rehearsal.tell import tell, to_mapping
from pipeline.rehearsal.verdict import verdict

SHOWN = Rehearsal(
    batches=100,
    seconds=10.0,
    work=Work(rows=40_000, bytes=4_000_000_000, read_seconds=2.0, write_seconds=78.0),
    cpu_seconds=79.0,
    first_batch=0.5,
    waited=9.0,
    rate=None,
    parts=Parts(read=5e-5, decode=1.3e-3, render=6e-4),
    cores=64,
    threads=8,
    devices=8,
    processes=16,
    batch=400,
    cache=Statistics(),
    is_fetched=False,
    memory=(1_000_000_000, 1_001_000_000),
)
READING = Work(rows=4_000, bytes=400_000_000, read_seconds=70.0, write_seconds=8.0)


@pytest.mark.parametrize(
    ("changes", "limit", "next_"),
    [
        ({}, "decoding", "more cores, or shard with max_side"),
        ({"progressive": 0.4}, "decoding", "progressive=recode"),
        ({"parts": Parts(read=5e-5, decode=4e-4, render=6e-4)}, "rendering", "views.photometric=device"),
        ({"devices": 4}, "threads", "trainer.threads=16"),
        ({"rate": 30_000.0, "waited": 0.1}, "nothing", "start the run"),
        ({"rate": 90_000.0}, "decoding", "more cores"),
        ({"cpu_seconds": 40.0}, "cores", "nothing else to do"),
        ({"cpu_seconds": 20.0, "cores": 2, "devices": 1}, "cores", "trainer.threads=2"),
        ({"work": READING}, "disk", "a faster disk"),
        ({"work": READING, "is_fetched": True}, "disk", "cache.folder"),
        ({"work": READING, "is_fetched": True, "cache": Statistics(misses=9)}, "network", "cache.downloads"),
        ({"work": READING, "is_fetched": True, "cache": Statistics(misses=9, evicted=9)}, "network", "cache.bytes"),
    ],
)
def test_a_limit_has_its_next_step(changes: dict[str, Any], limit: str, next_: str) -> None:
    found = verdict(replace(SHOWN, **changes))
    assert found.limit == limit
    assert next_ in found.next


def test_it_is_told_in_lines() -> None:
    lines = dict(line.split(None, 1) for line in tell(replace(SHOWN, bad={"truncated": 3})).splitlines())
    assert lines["rehearsed"] == "100 batches of 400 in 10.0 s, of 16 processes one"
    assert lines["images/s"] == "4,000 with 8 threads; 506 a core"
    assert "data wait     none below 64,000 images/s over all processes" in tell(SHOWN)
    assert "a sample      1.95 ms of a core: read 3%, decode 67%, render 31%" in tell(SHOWN)
    assert lines["read"] == "400.0 MB/s, 100.0 kB an image"
    assert lines["memory"] == "1.0 GB, +1.0 MB since it was warm"
    assert lines["bad"].split() == ["samples", "3", "truncated"]
    assert lines["limit"] == "decoding: decoding takes 1.30 ms of a core for each image"
    fetched = replace(SHOWN, rate=9e4, is_fetched=True, cache=Statistics(hits=2, misses=1, bytes=10**10, wait=1.5))
    assert "data wait     90.0%, where the trainer takes 90,000 images/s" in tell(fetched)
    assert "cache         2 hits, 1 misses, 0 put out; 1.0 GB/s fetched, 1.5 s waited" in tell(fetched)


def test_it_is_plain_values_for_a_file() -> None:
    mapping = to_mapping(SHOWN)
    assert (mapping["images_per_second"], mapping["data_wait"], mapping["work"]["rows"]) == (4000, 0.9, 40_000)
    assert mapping["verdict"]["limit"] == "decoding"
