"""The loader of a recipe, alone, for some seconds: what it gives, what that takes, and where the time of a sample goes.

One process takes its share of the global batches, as one of the job's processes would. What a sample takes is measured
apart, on one thread, by processor time: it does not depend on who else uses the machine.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_shards import images
from data_shards.batch import Draw
from data_shards.errors import ImageError
from data_shards.ledger import Ledger
from data_shards.loader import KEPT, Loader
from data_shards.loading.workers import Work
from data_shards.ordering.shuffle_quality import ShuffleQuality, measure
from data_shards.reading.cache import Statistics
from pipeline.stages.pretrain import Config, loader_for
from pipeline.views.draw import VIEW
from pipeline.views.render import Renderer

_LOOKED_AT = 200  # samples whose parts are timed


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What one sample takes, seconds of one core, in the mean."""

    read: float
    decode: float
    render: float


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What one process has shown."""

    batches: int
    seconds: float
    """On the clock, for these batches."""
    work: Work
    """Of its threads meanwhile."""
    cpu_seconds: float
    """Of the whole process."""
    first_batch: float
    """Seconds until it came."""
    waited: float
    """Seconds in which a batch was waited for."""
    rate: float | None
    """Images per second that the trainer takes, over all processes; None: as many as there are."""
    parts: Parts
    cores: int
    """That this process may use."""
    threads: int
    devices: int
    """Processes of the job on a machine."""
    processes: int
    """Processes of the whole job."""
    batch: int
    cache: Statistics
    is_fetched: bool
    memory: tuple[int, int] | None
    """Resident bytes once the ring was filled, and at the end; None where the system does not say."""
    bad: Mapping[str, int] = field(default_factory=dict)
    progressive: float = 0.0
    """Share of progressive JPEGs, which take three times as long to decode."""
    shuffle: ShuffleQuality | None = None

    @property
    def images_per_second(self) -> float:
        """Of this process."""
        return self.work.rows / self.seconds

    @property
    def data_wait(self) -> float:
        """Share of the time in which a batch was waited for."""
        return self.waited / self.seconds


def rehearse(config: Config, *, seconds: float = 20.0, batches: int = 300, rate: float | None = None) -> Rehearsal:
    """Run the loader for at most so many seconds and batches, after a few to warm up. Raises `UserError`."""
    processes = config.trainer.processes
    share = config.trainer.batch // processes
    pause = 0.0 if rate is None else config.trainer.batch / rate
    ledger = Ledger(max_rate=config.max_bad)
    began = time.perf_counter()
    with loader_for(config, 0, processes, ledger) as loader:
        stream = iter(loader)
        next(stream)
        first_batch = time.perf_counter() - began
        for _ in range(KEPT + 2):  # until the ring is full and every thread has its memory
            next(stream)
        before, memory, cpu, had = loader.work, resident(), time.process_time(), loader.sets.statistics()
        start, waited, done = time.perf_counter(), 0.0, 0
        for done, batch in enumerate(itertools.islice(stream, batches), 1):
            waited += batch.wait
            due = start + done * pause - time.perf_counter()
            if due > 0:
                time.sleep(due)
            if time.perf_counter() - start > seconds:
                break
        took = time.perf_counter() - start
        work, cpu, after = loader.work - before, time.process_time() - cpu, resident()
        return Rehearsal(
            batches=done,
            seconds=took,
            work=work,
            cpu_seconds=cpu,
            first_batch=first_batch,
            waited=waited,
            rate=rate,
            parts=parts_of(loader),
            cores=cores(),
            threads=config.trainer.threads,
            devices=config.trainer.devices,
            processes=processes,
            batch=share,
            cache=_less(loader.sets.statistics(), had),
            is_fetched=loader.sets.are_fetched,
            memory=None if memory is None or after is None else (memory, after),
            bad=dict(ledger.reasons),
            progressive=_progressive(loader),
            shuffle=measure(loader.stream, loader.batch),
        )


def parts_of(loader: Loader) -> Parts:
    """What the first samples take, on this thread."""
    transform = loader.transform
    assert isinstance(transform, Renderer)
    arrays, views = transform.allocate(1), np.zeros(sum(views for _, views in transform.groups), VIEW)
    read = decode = whole = 0.0
    count = 0
    located = loader.stream.locate(np.arange(min(_LOOKED_AT, loader.samples)))
    for epoch, shard, sample, index in zip(*(values.tolist() for values in located), strict=True):
        draw = Draw(loader.stream.seed, epoch, index)
        marks = [time.thread_time()]
        image = loader.sets.read(shard, sample)
        marks.append(time.thread_time())
        try:
            info = images.probe(image)
            images.decode(image, scale=transform.lay_out(draw, *info.upright, views), info=info)
            marks.append(time.thread_time())
            transform.write(image, draw, arrays, 0)
        except ImageError:
            continue
        marks.append(time.thread_time())
        read, decode, whole = (
            total + end - begin
            for total, (begin, end) in zip((read, decode, whole), itertools.pairwise(marks), strict=True)
        )
        count += 1
    count = max(count, 1)
    return Parts(read=read / count, decode=decode / count, render=max(whole - decode, 0.0) / count)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resident() -> int | None:
    """Bytes of this process in memory; None where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def _less(now: Statistics, before: Statistics) -> Statistics:
    return Statistics(**{name: getattr(now, name) - getattr(before, name) for name in now.__dataclass_fields__})


def _progressive(loader: Loader) -> float:
    manifests = [shard_set.manifest for shard_set in loader.sets.sets]
    all_ = sum(shard.samples for manifest in manifests for shard in manifest.shards)
    return sum(manifest.traits.get("progressive", 0) for manifest in manifests) / max(all_, 1)
