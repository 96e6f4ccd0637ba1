"""Waiting for the threads of a loader; where none of them finishes a sample for long, the samples that they hold.

The key of a sample lies in its shard, and reading it may hang as the sample did; it is left out then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any

from data_shards.errors import StallError
from data_shards.loading.sets import ShardSets
from data_shards.loading.workers import Workers

_LOOKS = 10  # at the threads before they are said to be stuck
_NAMED = 4  # samples in the sentence
_KEY_SECONDS = 1.0


def finished(tasks: Sequence[Future[Any]], workers: Workers, seconds: float) -> bool:
    """Wait until all tasks are done; False once no row was finished for `seconds` of waiting."""
    look, idle, rows = seconds / _LOOKS, 0.0, workers.rows
    while True:
        began = time.monotonic()
        if not wait(tasks, timeout=look).not_done:
            return True
        # A process that was stopped for an hour has not waited for its threads: they stood still as well.
        idle = idle + min(time.monotonic() - began, look) if workers.rows == rows else 0.0
        rows = workers.rows
        if idle >= seconds - look / 2:
            return False


def is_fetching(workers: Workers, sets: ShardSets) -> bool:
    """Whether all that is waited for are shards from a URL: the cache has a patience, and a sentence, of its own."""
    held = [holding for holding in workers.holdings if holding.sample is not None]
    return sets.are_fetched and bool(held) and not any(holding.is_read for holding in held)


def stall(workers: Workers, sets: ShardSets, seconds: float) -> StallError:
    """The sentence for threads that do not come back."""
    held = sorted((h.since, h.is_read, h.sample) for h in workers.holdings if h.sample is not None)
    named = []
    for since, is_read, sample in held[:_NAMED]:
        key = key_within(_KEY_SECONDS, sets, *sample)
        waited = time.perf_counter() - since
        named.append(f"{sets.place(sample[0])} {key} for {waited:.0f} s ({'decoding' if is_read else 'reading'})")
    if len(held) > _NAMED:
        named.append(f"{len(held) - _NAMED} more")
    reads = any(not is_read for _, is_read, _ in held)
    return StallError(
        sets.where,
        f"no sample was finished for {seconds:.0f} s; threads hold {', '.join(named) or 'nothing'}",
        f"look into {'its disk or server' if reads else 'these images'}, or have the loader wait (on_stall=wait)",
        f"python -m data_shards verify {sets.where}",
    )


def key_within(seconds: float, sets: ShardSets, shard: int, sample: int) -> str:
    """The key of a sample, or its number where the shard does not give it in time."""
    found: list[str] = []

    def look() -> None:
        with suppress(Exception):  # whatever else is wrong, the error at hand is the one to report
            found.append(sets.key(shard, sample))

    thread = threading.Thread(target=look, name="loader-key", daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else f"sample {sample}"
