"""Several shard sets in one stream, each with its weight, and each exactly as if it were streamed alone.

The positions of the stream are dealt to the sets in turns of `parts` positions. A set of weight w has w of them, evenly
spread: its j-th falls due at (j + 1/2) / w of the turn, and what is due first comes first (Webster's method). So the
number of its positions below any p is within (1 + sets × share) / 2 of p × share. A table of one turn gives, for any
position, its set and the position within that set's own stream, which is epoch after epoch of that set (`order.py`).

Resume is one number still: the samples consumed say how many each set has given. Shards and indices are numbered over
all sets, the second set's after the first's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_shards.errors import UserError
from data_shards.order import Int64, Located, Stream, share_of
from data_shards.splitmix import key_of

FINEST = 65536  # positions of a turn at most: shares are kept to this part


class Dealing:
    """Which set each position goes to. `parts` holds the positions that each set has in a turn."""

    def __init__(self, weights: Sequence[float | str]) -> None:
        self.parts = parts_of(weights)
        self.turn = sum(self.parts)
        due = np.concatenate([(np.arange(part) + 0.5) / part for part in self.parts])
        sets = np.repeat(np.arange(len(self.parts)), self.parts)
        self._set = sets[np.argsort(due, kind="stable")]
        self._number = np.empty(self.turn, np.int64)  # how many of the turn the set was dealt before
        for number, part in enumerate(self.parts):
            self._number[self._set == number] = np.arange(part)
        self._parts = np.array(self.parts, np.int64)

    def deal(self, positions: ArrayLike) -> tuple[Int64, Int64]:
        """The set of each position, and the position within the stream of that set."""
        positions = np.asarray(positions, np.int64)
        turn = positions // self.turn
        place = positions - turn * self.turn
        dealt = self._set[place]
        return dealt, turn * self._parts[dealt] + self._number[place]

    def before(self, position: int) -> list[int]:
        """How many positions below `position` each set has: its own samples consumed."""
        turn, place = divmod(position, self.turn)
        dealt = np.bincount(self._set[:place], minlength=len(self.parts)).tolist()
        return [turn * part + number for part, number in zip(self.parts, dealt, strict=True)]


def parts_of(weights: Sequence[float | str]) -> tuple[int, ...]:
    """Whole numbers in the ratio of the weights, small ones: (0.7, 0.3) gives (7, 3).

    Where they would add up to more than `FINEST` they are rounded to it, none below 1. Raises `UserError`.
    """
    given = ",".join(str(weight) for weight in weights)
    try:
        exact = [Fraction(str(weight)) for weight in weights]
    except (ValueError, ZeroDivisionError):
        raise UserError("weights", f"{given} are not all numbers", "give one for each set, such as 0.7,0.3") from None
    if not exact or min(exact) <= 0:
        raise UserError("weights", f"{given} are not all above 0", "leave out the set that is not wanted")
    if len(exact) > FINEST // 16:
        raise UserError("weights", f"{len(exact)} sets", f"at most {FINEST // 16} can be mixed; pack them into fewer")
    scale = math.lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * scale) for weight in exact]
    divisor = math.gcd(*whole)
    whole = [part // divisor for part in whole]
    if sum(whole) <= FINEST:
        return tuple(whole)
    total = sum(whole)
    rounded = [max(1, part * FINEST // total) for part in whole]
    left = FINEST - sum(rounded)
    by_remainder = sorted(range(len(whole)), key=lambda k: -(whole[k] * FINEST % total))
    for k in by_remainder[: max(left, 0)]:
        rounded[k] += 1
    return tuple(rounded)


class Mixture:
    """The endless stream of several sets. `counts` holds the samples of each shard of each set.

    The first set is ordered by `seed`, every other by a seed of its own that follows from it, so that sets of one shape
    are not permuted alike. `histories` holds that of each set (`growth.py`), its positions being those of its own
    stream; None where a set has not grown. It takes the place of a `Stream`; with one set it is one.
    """

    def __init__(
        self,
        counts: Sequence[ArrayLike],
        weights: Sequence[float | str],
        *,
        seed: int = 0,
        lanes: int = 128,
        block: int = 65536,
        histories: Sequence[Sequence[tuple[int, int]] | None] | None = None,
    ) -> None:
        if len(counts) != len(weights):
            raise UserError("weights", f"{len(weights)} for {len(counts)} shard sets", "give one for each set")
        self.seed, self.lanes, self.block = seed, lanes, block
        self.dealing = Dealing(weights)
        self.streams = tuple(
            Stream(own, seed=seed_of(seed, number), lanes=lanes, block=block, history=history)
            for number, (own, history) in enumerate(zip(counts, histories or [None] * len(counts), strict=True))
        )
        self.counts = np.concatenate([stream.counts for stream in self.streams])
        self._shards = np.cumsum([0, *(len(stream.counts) for stream in self.streams)])
        self._indices = np.cumsum([0, *(int(stream.counts.sum()) for stream in self.streams)])

    @property
    def samples(self) -> int:
        """Samples of all sets together, as large as they are now. Their epochs do not end together."""
        return sum(stream.samples for stream in self.streams)

    def locate(self, positions: ArrayLike) -> Located:
        """Where the samples of these positions are; the epoch is that of their set."""
        positions = np.asarray(positions, np.int64)
        dealt, own = self.dealing.deal(positions)
        located = Located(*(np.empty_like(positions) for _ in Located._fields))
        for number, stream in enumerate(self.streams):
            chosen = dealt == number
            epoch, shard, sample, index = stream.locate(own[chosen])
            found = (epoch, shard + self._shards[number], sample, index + self._indices[number])
            for field, values in zip(located, found, strict=True):
                field[chosen] = values
        return located

    def lane_places(self, positions: ArrayLike, world: int) -> NDArray[np.uint16]:
        """Where on the circle of lanes of its set each position is, in 65536ths.

        So a rank takes the same part of every set, and its share of a batch is mixed as the batch is.
        """
        dealt, own = self.dealing.deal(positions)
        places = np.empty(dealt.shape, np.uint16)
        for number, stream in enumerate(self.streams):
            chosen = dealt == number
            places[chosen] = stream.lane_places(own[chosen], world)
        return places

    def share(self, start: int, stop: int, rank: int, world: int) -> Int64:
        """The positions of the global batch [start, stop) that `rank` takes, ascending."""
        positions = np.arange(start, stop, dtype=np.int64)
        return positions if world == 1 else positions[share_of(self.lane_places(positions, world), rank, world)]

    def set_of(self, shard: int) -> tuple[int, int]:
        """The set that a shard belongs to, and its number there."""
        number = int(np.searchsorted(self._shards, shard, side="right")) - 1
        return number, shard - int(self._shards[number])

    def substitute(self, epoch: int, shard: int, index: int, attempt: int) -> tuple[int, int, int]:
        """Shard, sample and index that stand in for a bad sample: drawn as its own set does."""
        number, own = self.set_of(shard)
        first = int(self._indices[number])
        place, sample, other = self.streams[number].substitute(epoch, own, index - first, attempt)
        return place + int(self._shards[number]), sample, other + first


def seed_of(seed: int, number: int) -> int:
    """The seed by which set `number` of a mixture is ordered."""
    return seed if number == 0 else key_of(seed, number)
