"""From shards to batches: threads decode and augment into arrays that are reused.

- The stream's order says which samples a batch holds; the loader adds no order of its own, so threads and prefetch
  change nothing but the speed.
- A batch is a few tasks of some rows each. Threads suffice: decoding and augmenting release the interpreter lock.
- Batches are written into a ring of arrays, allocated once. A batch stays intact until three more were requested.
- A sample that cannot be decoded keeps its place: a substitute, drawn by its epoch and index, fills the row.
- Where no sample is finished for long, those that the threads hold are named, and the loader stops or goes on waiting.
- To resume takes one number, the samples consumed, whatever the number of ranks, threads or the batch size were before.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from data_shards.batch import Arrays, Batch, Transform
from data_shards.errors import UserError
from data_shards.ledger import BadSample, Ledger
from data_shards.loading.ahead import EVERY, shards_ahead
from data_shards.loading.rows import Pending, Rows
from data_shards.loading.sets import ShardSets
from data_shards.loading.stall import finished, is_fetching, stall
from data_shards.loading.workers import Work, Workers
from data_shards.order import check_batch
from data_shards.ordering.mixture import Mixture
from data_shards.stream import ShardSet

KEPT = 3  # batches that stay intact besides the one given last
_ROWS = 32  # at most, in one task


class Loader:
    """Batches of one rank.

    With `shuffle`, iterating gives endless batches, or `batches` of them, and goes on where the last iteration stopped;
    a batch may span two epochs. Without, it gives every sample once, in order; of the last, shorter batch each rank
    takes a near equal share, which may be empty, so that all ranks have the same number of batches.

    `batch` is the global size, samples per step over all ranks. `subset` holds indices within the split. `lanes` is
    that of `order.py`, `prefetch` the number of batches written ahead. Close the loader, or use it as a context
    manager, to end its threads.

    Where no row is finished for `stall_seconds` while a batch is waited for, iterating raises `StallError`; with
    `on_stall` "wait" the sentence goes to stderr instead, as often as that time passes. For shards that are fetched
    the cache says how long it waits.
    """

    def __init__(
        self,
        shards: ShardSet | ShardSets,
        transform: Transform,
        *,
        batch: int,
        rank: int = 0,
        world: int = 1,
        seed: int = 0,
        lanes: int = 128,
        threads: int = 2,
        prefetch: int = 2,
        shuffle: bool = True,
        subset: NDArray[np.int64] | None = None,
        ledger: Ledger | None = None,
        batches: int | None = None,
        stall_seconds: float = 300.0,
        on_stall: Literal["stop", "wait"] = "stop",
    ) -> None:
        assert 0 <= rank < world, (rank, world)
        if shuffle or batch < 1:  # in sequence, shares of any size will do
            check_batch(batch, world)
        self.sets = shards if isinstance(shards, ShardSets) else ShardSets([shards])
        samples = self.sets.samples
        if subset is not None and (len(subset) == 0 or subset.min() < 0 or subset.max() >= samples):
            raise UserError("subset", f"{len(subset)} indices", f"it needs some, from 0 to {samples - 1}")
        self.transform, self.ledger, self.subset = transform, ledger or Ledger(), subset
        self.batch, self.rank, self.world, self.shuffle, self.batches = batch, rank, world, shuffle, batches
        self.stream = self.sets.stream(seed=seed, lanes=lanes, shuffle=shuffle, subset=subset)
        self._rows = Rows(self.sets, transform, self.stream)
        self._looks_ahead = shuffle and self.sets.are_fetched
        self.consumed = self.number = 0  # after the last batch given out
        self.stall_seconds, self.on_stall = stall_seconds, on_stall
        self._threads, self._prefetch = max(1, threads), max(1, prefetch)
        self._workers: Workers | None = None
        self._pending: deque[Pending] = deque()
        self._ring: list[Arrays] = []
        self._submitted = 0  # batches put into the ring since the start
        self._iteration = 0
        self._seen = 0

    @property
    def samples(self) -> int:
        """Samples of one epoch, over all ranks."""
        return self.stream.samples

    def __len__(self) -> int:
        """Batches of one iteration. Raises `TypeError` where they do not end."""
        if self.shuffle:
            if self.batches is None:
                raise TypeError("the shuffled stream has no end; set batches=")
            return self.batches
        whole = -(-self.samples // self.batch)
        return whole if self.batches is None else min(whole, self.batches)

    @property
    def work(self) -> Work:
        """What the threads have done since they began."""
        return Work.of(self._workers.holdings if self._workers is not None else ())

    def __iter__(self) -> Iterator[Batch]:
        self._abandon()
        iteration = self._iteration
        start, number = (self.consumed, self.number) if self.shuffle else (0, 0)
        self.ledger.start(start)
        submitted = given = 0
        while True:
            began = time.perf_counter()
            if iteration != self._iteration:
                raise RuntimeError("this iteration has ended: its loader was closed, resumed or iterated anew")
            while submitted <= given + self._prefetch and self._has(start, submitted):
                self._submit(start + submitted * self.batch)
                submitted += 1
            if not self._pending:
                return
            pending = self._pending[0]
            self._await(pending.tasks)
            bad = [sample for task in pending.tasks for sample in task.result()]
            self._pending.popleft()
            self._report(pending.rows, bad)
            given += 1
            self.consumed, self.number = pending.consumed, number + given
            yield Batch(
                arrays=tuple(array[:, : pending.rows] for array in pending.arrays),
                indices=pending.indices,
                labels=pending.labels,
                number=number + given - 1,
                consumed=pending.consumed,
                wait=time.perf_counter() - began,
                wanted=pending.located.index if bad else None,
            )

    def state_dict(self) -> dict[str, Any]:
        """What resumes the stream after the last batch given out, and what it must be resumed on: plain values."""
        return {
            "consumed": self.consumed,
            "number": self.number,
            **self._identity(),
            "sets": self.sets.state(self.stream),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after `state["consumed"]` samples. Shards that a set has gained since join in with its next epoch.

        Raises `UserError` where the state is that of another stream.
        """
        mine = self._identity()
        for name, value in mine.items():
            if state.get(name, value) != value:
                self._refuse(f"{name} {state[name]!r}", f"{value!r}")
        states, consumed = state.get("sets"), int(state["consumed"])
        if states is not None:
            if len(states) != len(self.sets.sets):
                self._refuse(f"{len(states)} shard sets", f"{len(self.sets.sets)}")
            histories = self.sets.histories(states, self.stream, consumed)
            if self.subset is not None and [list(entry) for entry in histories[0]] != states[0]["history"]:
                self._refuse("a subset of fewer shards", "a subset of more")
            self.stream = self.sets.stream(
                seed=mine["seed"], lanes=mine["lanes"], shuffle=self.shuffle, subset=self.subset, histories=histories
            )
        self._abandon()
        self._rows = Rows(self.sets, self.transform, self.stream)
        self.consumed = consumed
        self.number = int(state.get("number", consumed // self.batch))

    def _refuse(self, had: str, has: str) -> NoReturn:
        raise UserError(
            self.sets.where,
            f"the run to be resumed had {had}, this one has {has}",
            "samples would be repeated or lost; resume with what the run began with, or start a new one",
        )

    def close(self) -> None:
        """End the threads and close the shards. Iterating again would start them again.

        Threads that are stuck are left behind; they end with the process.
        """
        self._abandon()
        if self._workers is not None:
            self._workers.end()
            self._workers.join()
            self._workers = None
        self.sets.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _identity(self) -> dict[str, Any]:
        """What makes the order beside the shards; the same on every rank."""
        stream, subset = self.stream, self.subset
        return {
            "seed": stream.seed,
            "lanes": stream.lanes,
            "block": stream.block,
            "weights": list(stream.dealing.parts) if isinstance(stream, Mixture) else [1],
            "subset": None if subset is None else hashlib.sha256(subset.astype("<i8").tobytes()).hexdigest(),
        }

    def _abandon(self, patience: float | None = None) -> None:
        """End the iteration that may be under way and give back its places in the ring, once its tasks are done.

        Threads that finish no row for `patience` seconds are left behind, with the arrays that they may write into.
        """
        self._iteration += 1
        tasks = [task for pending in self._pending for task in pending.tasks if not task.cancel()]
        self._submitted -= len(self._pending)
        self._pending.clear()
        patience = self.stall_seconds if patience is None else patience
        if self._workers is not None and not finished(tasks, self._workers, patience):
            self._workers.end()
            self._workers = None
            self._ring, self._submitted = [], 0

    def _await(self, tasks: Sequence[Future[Any]]) -> None:
        """Wait for tasks. Raises `StallError` where they do not come and that shall end the run."""
        assert self._workers is not None
        while not finished(tasks, self._workers, self.stall_seconds):
            if is_fetching(self._workers, self.sets):
                continue
            error = stall(self._workers, self.sets, self.stall_seconds)
            if self.on_stall == "stop":
                self._abandon(patience=0)
                raise error
            print(f"warning: {error}", file=sys.stderr, flush=True)

    def _has(self, start: int, batch: int) -> bool:
        if self.batches is not None and batch >= self.batches:
            return False
        return self.shuffle or start + batch * self.batch < self.samples

    def _submit(self, start: int) -> None:
        """Have the threads write the global batch that begins at position `start`."""
        if self._workers is None:
            self._workers = Workers(self._threads)
        stop = start + self.batch if self.shuffle else min(start + self.batch, self.samples)
        positions = self.stream.share(start, stop, self.rank, self.world)
        if self._looks_ahead and (not self._pending or start // self.batch % EVERY == 0):
            self.sets.expect(shards_ahead(self.stream, start, self.batch, self.rank, self.world))
        located = self.stream.locate(positions)
        labels = np.full(len(positions), -1, np.int64)
        pending = Pending(self._next_arrays(), positions, located, located.index.copy(), labels, stop)
        step = max(1, min(_ROWS, -(-pending.rows // (4 * self._threads))))
        self._pending.append(pending)
        for first in range(0, pending.rows, step):
            last = min(first + step, pending.rows)
            pending.tasks.append(self._workers.submit(self._rows.write, pending, first, last))

    def _next_arrays(self) -> Arrays:
        # When batch b is requested, b + prefetch is submitted, over the arrays of b - KEPT - 1.
        place = self._submitted % (self._prefetch + KEPT + 1)
        if place == len(self._ring):
            self._ring.append(self.transform.allocate(-(-self.batch // self.world)))
        self._submitted += 1
        return self._ring[place]

    def _report(self, rows: int, bad: list[BadSample]) -> None:
        """Enter the bad samples of a batch into the ledger, once the batch is given out."""
        self._seen += rows
        for sample in bad:
            self.ledger.record(sample)
        self.ledger.check(self._seen, self.sets.where)
