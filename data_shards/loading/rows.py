"""The rows of a batch, filled: one sample read, turned into pixels, and put in its place; or another in its stead."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data_shards.batch import Arrays, Draw, Transform
from data_shards.errors import ImageError, ShardError
from data_shards.ledger import BadSample
from data_shards.loading.sets import ShardSets
from data_shards.loading.stall import key_within
from data_shards.loading.workers import Holding
from data_shards.order import Located, Stream
from data_shards.ordering.mixture import Mixture

_ATTEMPTS = 32  # substitutes tried for one bad sample
_KEY_SECONDS = 1.0  # that finding the key for an error may take


@dataclass(slots=True)
class Pending:
    """A batch that is being written, into arrays of the ring that may have more rows."""

    arrays: Arrays
    positions: NDArray[np.int64]
    located: Located
    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    consumed: int
    tasks: list[Future[list[BadSample]]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Rows that are written: the rank's share of the global batch."""
        return len(self.positions)


class Rows:
    """Fills rows; safe for many threads."""

    def __init__(self, sets: ShardSets, transform: Transform, stream: Stream | Mixture) -> None:
        self.sets, self.transform, self.stream = sets, transform, stream

    def write(self, holding: Holding, pending: Pending, first: int, last: int) -> list[BadSample]:
        """Fill rows [first, last) of a batch. Runs in a thread; gives the bad samples it met."""
        bad: list[BadSample] = []
        places = zip(*(array[first:last].tolist() for array in (pending.positions, *pending.located)), strict=True)
        for row, (position, epoch, shard, sample, index) in enumerate(places, first):
            draw = Draw(self.stream.seed, epoch, index)
            image = b""
            try:
                image = self._read(holding, shard, sample)
                self.transform.write(image, draw, pending.arrays, row)
            except ImageError as error:
                bad.append(self._bad_sample(image, error, epoch, shard, sample, position))
                shard, sample, pending.indices[row] = self._substitute(holding, draw, shard, pending.arrays, row)
            except Exception as error:
                key = key_within(_KEY_SECONDS, self.sets, shard, sample)
                error.add_note(f"while loading {self.sets.place(shard)} {key}")
                raise
            pending.labels[row] = self.sets.label(shard, sample)
            holding.finish(len(image))
        return bad

    def _read(self, holding: Holding, shard: int, sample: int) -> bytes:
        holding.take(shard, sample)
        image = self.sets.read(shard, sample)
        holding.has_read()
        return image

    def _substitute(self, holding: Holding, bad: Draw, shard: int, arrays: Arrays, row: int) -> tuple[int, int, int]:
        """Fill a row with another sample, seen through the draw of the bad one. Gives its shard, number and index."""
        for attempt in range(_ATTEMPTS):
            place, sample, index = self.stream.substitute(bad.epoch, shard, bad.index, attempt)
            try:
                self.transform.write(self._read(holding, place, sample), bad, arrays, row)
            except ImageError:
                continue
            return place, sample, index
        raise ShardError(
            self.sets.place(shard),
            f"a sample cannot be decoded, nor can {_ATTEMPTS} drawn in its place",
            "the set holds next to no usable image; pack it again",
            f"python -m data_shards verify {self.sets.of(shard)[0].where}",
        )

    def _bad_sample(
        self, image: bytes, error: ImageError, epoch: int, shard: int, sample: int, position: int
    ) -> BadSample:
        shard_set, own = self.sets.of(shard)
        return BadSample(
            shard=shard_set.shards[own].name,
            key=shard_set.key(own, sample),
            offset=shard_set.offset(own, sample),
            hash=BadSample.hash_of(image),
            reason=error.reason,
            epoch=epoch,
            position=position,
            root=shard_set.manifest.root,
        )
