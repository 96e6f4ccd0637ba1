"""The nearest rows of a bank of any size, by cosine: exact, in memory that the bank's size does not enter.

The bank comes in chunks, once for all queries, and small chunks are joined. Each query keeps the k best seen so far,
and a chunk's best are merged in. Queries go through in blocks of fixed places, so that it is the same arithmetic
whichever process does a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.evaluation.features import Features

BLOCK = 1024
"""Queries that are compared with a chunk at once; processes share queries in whole blocks."""
ROWS, BYTES = 16_384, 256 << 20
"""Rows of the bank that are compared at once, fewer where their vectors would take so many bytes."""
_RUN = 8


def check_ks(ks: Sequence[int]) -> None:
    """Raises ValueError unless these are numbers of neighbours, each named once."""
    if not ks or min(ks) < 1 or len(set(ks)) < len(ks):
        raise ValueError("ks needs numbers from 1 on, none twice")


class Neighbours(NamedTuple):
    """For each query its nearest bank rows, nearest first. Fewer than k rows: the rest have similarity -inf."""

    similarity: Tensor
    """Cosines (Q, k), fp32."""
    labels: Tensor
    """Classes (Q, k), int64."""
    indices: Tensor
    """Indices of the samples (Q, k), int64; -1 where there is none."""

    @classmethod
    def none(cls, queries: int, k: int, device: torch.device) -> Neighbours:
        """Before anything is compared."""
        empty = torch.full((queries, k), -1, device=device)
        return cls(torch.full((queries, k), -torch.inf, device=device), torch.zeros_like(empty), empty)

    def take(self, pair: Compared) -> None:
        """Merge the best of a chunk into what was found before, in place."""
        mine = [part[pair.block] for part in self]
        k = self.similarity.shape[1]
        values, columns = best(pair.similarity, k, mine[0][:, -1:])
        values, order = torch.cat([mine[0], values], 1).topk(k, 1)
        mine[0].copy_(values)
        for kept, theirs in zip(mine[1:], (pair.labels, pair.indices), strict=True):
            kept.copy_(torch.cat([kept, theirs[columns]], 1).gather(1, order))


class Compared(NamedTuple):
    """A block of queries beside a chunk of the bank."""

    block: slice
    """Which queries."""
    similarity: Tensor
    """Cosines (block, chunk), -inf where a query meets itself; written over by the next."""
    labels: Tensor
    """Of the chunk."""
    indices: Tensor
    """Of the chunk."""


def compared(queries: Tensor, bank: Iterable[Features], own: Tensor | None = None) -> Iterator[Compared]:
    """Every block of `queries` (Q, D) beside every chunk of the bank, on the device of `queries`, chunk by chunk.

    `own` (Q) has the index of the bank's sample that a query is and that does not count, -1 for none; the indices of a
    chunk then must rise. Rows of zeros are orthogonal to all.
    """
    device = queries.device
    unit = F.normalize(queries.float(), dim=1)
    similarity = torch.empty(0, device=device)
    for chunk in _joined(bank):
        rows = F.normalize(chunk.features.to(device).float(), dim=1).T
        labels, indices = chunk.labels.to(device), chunk.indices.to(device)
        for start in range(0, len(unit), BLOCK):
            block = slice(start, min(start + BLOCK, len(unit)))
            # Memory of this size is expensive to ask for: it comes from the system and goes back each time.
            shape = block.stop - start, len(labels)
            similarity = similarity if similarity.shape == shape else torch.empty(shape, device=device)
            torch.mm(unit[block], rows, out=similarity)
            if own is not None:
                _leave_out(similarity, indices, own[block].to(device))
            yield Compared(block, similarity, labels, indices)


@torch.no_grad()
def nearest(queries: Tensor, bank: Iterable[Features], k: int, *, own: Tensor | None = None) -> Neighbours:
    """The k rows of `bank` nearest to each of `queries` (Q, D), on the device of `queries`; `own` as in `compared`."""
    found = Neighbours.none(len(queries), k, queries.device)
    for pair in compared(queries, bank, own):
        found.take(pair)
    return found


def _joined(bank: Iterable[Features]) -> Iterator[Features]:
    """The same rows in chunks of about `ROWS`; empty ones go."""
    waiting: list[Features] = []
    rows = 0
    for chunk in bank:
        if len(chunk.labels):
            waiting.append(chunk)
            rows += len(chunk.labels)
            if rows * max(chunk.features.shape[1] * 4 / BYTES, 1 / ROWS) >= 1:
                yield Features(*map(torch.cat, zip(*waiting, strict=True)))
                waiting, rows = [], 0
    if waiting:
        yield Features(*map(torch.cat, zip(*waiting, strict=True)))


def _leave_out(similarity: Tensor, indices: Tensor, own: Tensor) -> None:
    """Put -inf where a query meets itself."""
    place = torch.searchsorted(indices, own).clamp_max(max(0, len(indices) - 1))
    here = torch.nonzero(indices[place] == own).flatten()
    similarity[here, place[here]] = -torch.inf


def best(similarity: Tensor, k: int, above: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k greatest of each row and their columns, greatest first: what `topk` gives, sooner.

    Columns are dealt into runs of eight. The k greatest lie in the k runs whose maxima are greatest, and maxima are
    found as fast as memory is read. Given `above` (rows, 1), what is not greater may be left out, so fewer may come.
    """
    runs = similarity.shape[1] // _RUN
    if runs < 2 * k:
        return similarity.topk(min(k, similarity.shape[1]), 1)
    whole = runs * _RUN
    maxima = similarity[:, :whole].unflatten(1, (_RUN, runs)).amax(1)  # type: ignore[no-untyped-call]
    most = k if above is None else min(k, int((maxima > above).sum(1).max()))
    chosen = maxima.topk(most, 1, sorted=False).indices
    columns = (chosen.unsqueeze(1) + torch.arange(0, whole, runs, device=chosen.device).unsqueeze(1)).flatten(1)
    if whole < similarity.shape[1]:
        rest = torch.arange(whole, similarity.shape[1], device=chosen.device)
        columns = torch.cat([columns, rest.expand(len(columns), -1)], 1)
    values, places = similarity.gather(1, columns).topk(min(k, columns.shape[1]), 1)
    return values, columns.gather(1, places)
