"""A rehearsal in lines for a terminal, and as plain values for a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from data_shards.inspect.text import amount
from pipeline.rehearsal.measure import Rehearsal
from pipeline.rehearsal.verdict import verdict


def tell(shown: Rehearsal) -> str:
    """What the loader gives and takes, and what limits it."""
    return "\n".join(f"{name:<14}{text}" for name, text in _lines(shown))


def to_mapping(shown: Rehearsal) -> dict[str, Any]:
    """All figures and the verdict, as plain values."""
    derived = {"images_per_second": shown.images_per_second, "data_wait": shown.data_wait}
    return {**asdict(shown), **derived, "verdict": verdict(shown)._asdict()}


def _lines(shown: Rehearsal) -> Iterator[tuple[str, str]]:
    per_core = shown.work.rows / max(shown.cpu_seconds, 1e-9)
    of = f", of {shown.processes} processes one" if shown.processes > 1 else ""
    yield "rehearsed", f"{shown.batches:,} batches of {shown.batch:,} in {shown.seconds:.1f} s{of}"
    yield "images/s", f"{shown.images_per_second:,.0f} with {shown.threads} threads; {per_core:,.0f} a core"
    if shown.rate is not None:
        yield "data wait", f"{shown.data_wait:.1%}, where the trainer takes {shown.rate:,.0f} images/s"
    else:
        every = shown.images_per_second * shown.processes
        yield (
            "data wait",
            f"none below {every:,.0f} images/s over all processes; rate=… tries a trainer that takes so many",
        )
    yield "first batch", f"{shown.first_batch:.2f} s after the start"
    parts = shown.parts
    whole = max(parts.read + parts.decode + parts.render, 1e-9)
    shares = ", ".join(f"{name} {value / whole:.0%}" for name, value in asdict(parts).items())
    yield "a sample", f"{whole * 1e3:.2f} ms of a core: {shares}"
    size = shown.work.bytes / max(shown.work.rows, 1)
    yield "read", f"{amount(shown.work.bytes / shown.seconds)}/s, {amount(size)} an image"
    if shown.is_fetched:
        had = shown.cache
        shards = f"{had.hits:,} hits, {had.misses:,} misses, {had.evicted:,} put out"
        yield "cache", f"{shards}; {amount(had.bytes / shown.seconds)}/s fetched, {had.wait:.1f} s waited"
    if shown.memory is not None:
        first, last = shown.memory
        yield "memory", f"{amount(last)}, {'-' if last < first else '+'}{amount(abs(last - first))} since it was warm"
    bad = ", ".join(f"{count:,} {reason}" for reason, count in sorted(shown.bad.items()))
    yield "bad samples", bad or "none"
    if shown.shuffle is not None:
        yield "shuffle", str(shown.shuffle).removeprefix("shuffle ")
    found = verdict(shown)
    yield "limit", f"{found.limit}: {found.why}"
    yield "next", found.next
