"""What passes between the loader and whoever turns encoded images into pixels.

The loader knows samples and positions; it does not know crops. A `Transform` allocates the arrays of a batch once and
writes one sample into one row of them, so pixels are never collated, copied or pickled. A `Draw` names the random
numbers of a sample: the same draw gives the same pixels whatever the number of threads, ranks or restarts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[NDArray[np.uint8], ...]


class Draw(NamedTuple):
    """Key of the random numbers of one sample in one epoch."""

    seed: int
    epoch: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls


class Transform(Protocol):
    """Turns one encoded image into its rows of a batch."""

    def allocate(self, batch: int) -> Arrays:
        """Arrays of one batch: for each crop size a uint8 array (views, batch, size, size, 3)."""
        ...

    def write(self, image: bytes, draw: Draw, arrays: Arrays, row: int) -> None:
        """Decode `image` and write its crops into row `row` (axis 1). Safe to call from many threads.

        Raises `ImageError` for an image that cannot be decoded; the row is then unspecified.
        """
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's share of a global batch. The loader reuses `arrays` after three further batches were requested."""

    arrays: Arrays
    indices: NDArray[np.int64]
    """Global index of each sample within its split (B)."""
    labels: NDArray[np.int64]
    """Class of each sample (B), -1 where it has none."""
    number: int
    """Number of the global batch since the start of training."""
    consumed: int
    """Samples the whole job has consumed once this batch is done: the number that resumes the stream."""
    wait: float
    """Seconds the caller waited for this batch."""
    wanted: NDArray[np.int64] | None = None
    """Index of the sample whose place each row has (B); None where no row holds a substitute: it is `indices` then."""

    @property
    def own(self) -> NDArray[np.bool_]:
        """Rows that hold the sample whose place they have (B); an evaluation counts no others."""
        return np.ones(len(self.indices), bool) if self.wanted is None else self.indices == self.wanted
