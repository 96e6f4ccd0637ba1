"""What limits a loader, by what it has shown, and what to change next."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.rehearsal.measure import Rehearsal

_KEEPS_UP = 0.02  # share of the time waited for, below which the trainer is the limit
_READS = 0.3  # share of a thread's time spent on reading, from which on storage is the limit
_RUNS = 0.75  # share of their time in which threads have a core, below which others have it
_MANY = 0.05  # share of progressive images that is worth a word


class Verdict(NamedTuple):
    """`limit` is a word; `why` a sentence; `next` what to do."""

    limit: str
    why: str
    next: str


def verdict(shown: Rehearsal) -> Verdict:
    """The limit of the loader of one process."""
    work = shown.work
    busy = work.read_seconds + work.write_seconds
    reads = work.read_seconds / max(busy, 1e-9)
    if shown.rate is not None and shown.data_wait < _KEEPS_UP:
        return Verdict("nothing", f"the trainer takes {shown.rate:,.0f} images/s and does not wait", "start the run")
    if reads >= _READS:
        return _storage(shown, reads)
    if shown.cpu_seconds < _RUNS * busy:
        if shown.threads > shown.cores:
            why = f"{shown.threads} threads share {shown.cores} cores"
            return Verdict("cores", why, f"trainer.threads={shown.cores} does as well; more cores do better")
        why = f"its threads had a core for {shown.cpu_seconds / busy:.0%} of the time; other processes use them"
        return Verdict("cores", why, "rehearse on a machine that has nothing else to do")
    room = shown.cores // shown.devices
    if shown.threads < room:
        why = f"{shown.devices * shown.threads} threads of {shown.cores} cores are used"
        return Verdict("threads", why, f"trainer.threads={room}")
    return _processor(shown)


def _storage(shown: Rehearsal, reads: float) -> Verdict:
    why = f"threads spend {reads:.0%} of their time on reading"
    cache = shown.cache
    if not shown.is_fetched:
        return Verdict("disk", why, "copy the shards to a faster disk, or set more trainer.threads")
    if cache.evicted:
        return Verdict("network", f"{why}; the cache is too small for what is in use", "raise cache.bytes")
    if cache.misses:
        return Verdict("network", f"{why}; {cache.misses} shards came too late", "raise cache.downloads")
    return Verdict("disk", f"{why}, from the cache", "put cache.folder on a faster disk")


def _processor(shown: Rehearsal) -> Verdict:
    parts = shown.parts
    if parts.decode >= parts.render:
        why = f"decoding takes {parts.decode * 1e3:.2f} ms of a core for each image"
        if shown.progressive > _MANY:
            recode = (
                f"{shown.progressive:.0%} are progressive JPEGs, three times as slow: shard with progressive=recode"
            )
            return Verdict("decoding", why, recode)
        return Verdict("decoding", why, "use more cores, or shard with max_side, as small as the largest crop allows")
    why = f"cropping and colouring take {parts.render * 1e3:.2f} ms of a core for each image"
    return Verdict("rendering", why, "use more cores, or views.photometric=device, which colours on the GPU")
