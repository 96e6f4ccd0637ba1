"""The nearest rows of a bank of any size, by cosine: exact, in memory that the bank's size does not enter.

The bank comes in chunks, once for all queries. Each query keeps the k best seen so far, and a chunk's best are merged
in. Queries go through in blocks of fixed places, so that it is the same arithmetic whichever process does a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.evaluation.features import Features

BLOCK = 512
"""Queries that are compared with a chunk at once; processes share queries in whole blocks."""
_RUN = 64


class Neighbours(NamedTuple):
    """For each query its nearest bank rows, nearest first. Fewer than k rows: the rest have similarity -inf."""

    similarity: Tensor
    """Cosines (Q, k), fp32."""
    labels: Tensor
    """Classes (Q, k), int64."""
    indices: Tensor
    """Indices of the samples (Q, k), int64; -1 where there is none."""


@torch.no_grad()
def nearest(queries: Tensor, bank: Iterable[Features], k: int, *, own: Tensor | None = None) -> Neighbours:
    """The k rows of `bank` nearest to each of `queries` (Q, D), on the device of `queries`.

    `own` (Q) has the index of the bank's sample that a query is and that does not count, -1 for none; the indices of a
    chunk then must rise. Rows of zeros are orthogonal to all.
    """
    device = queries.device
    unit = F.normalize(queries.float(), dim=1)
    blocks = [slice(start, start + BLOCK) for start in range(0, len(unit), BLOCK)]
    found = [
        Neighbours(
            torch.full((len(unit[block]), k), -torch.inf, device=device),
            torch.zeros(len(unit[block]), k, dtype=torch.int64, device=device),
            torch.full((len(unit[block]), k), -1, device=device),
        )
        for block in blocks
    ]
    for chunk in bank:
        if not len(chunk.labels):
            continue
        rows = F.normalize(chunk.features.to(device).float(), dim=1).T
        labels, indices = chunk.labels.to(device), chunk.indices.to(device)
        for number, block in enumerate(blocks):
            similarity = unit[block] @ rows
            if own is not None:
                _leave_out(similarity, indices, own[block].to(device))
            found[number] = _merged(found[number], similarity, labels, indices)
    if not found:
        return Neighbours(torch.empty(0, k), torch.empty(0, k).long(), torch.empty(0, k).long())
    return Neighbours(*map(torch.cat, zip(*found, strict=True)))


def _leave_out(similarity: Tensor, indices: Tensor, own: Tensor) -> None:
    """Put -inf where a query meets itself."""
    place = torch.searchsorted(indices, own).clamp_max(max(0, len(indices) - 1))
    here = torch.nonzero(indices[place] == own).flatten()
    similarity[here, place[here]] = -torch.inf


def _merged(before: Neighbours, similarity: Tensor, labels: Tensor, indices: Tensor) -> Neighbours:
    """The best of what was found before and of a chunk."""
    k = before.similarity.shape[1]
    values, columns = best(similarity, min(k, similarity.shape[1]))
    values, order = torch.cat([before.similarity, values], 1).topk(k, 1)
    return Neighbours(
        values,
        torch.cat([before.labels, labels[columns]], 1).gather(1, order),
        torch.cat([before.indices, indices[columns]], 1).gather(1, order),
    )


def best(similarity: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k greatest of each row and their columns, greatest first: what `topk` gives, sooner.

    The k greatest lie in the k runs of columns whose maxima are greatest, and maxima are found as fast as memory is
    read: 0.2 s instead of 1.5 s for 10,000 queries and 50,000 rows at k = 20 on two cores.
    """
    runs = similarity.shape[1] // _RUN
    if runs < 3 * k:
        return similarity.topk(k, 1)
    whole = runs * _RUN
    chosen = similarity[:, :whole].view(-1, runs, _RUN).amax(2).topk(k, 1).indices
    columns = (chosen.unsqueeze(2) * _RUN + torch.arange(_RUN, device=similarity.device)).flatten(1)
    if whole < similarity.shape[1]:
        rest = torch.arange(whole, similarity.shape[1], device=similarity.device)
        columns = torch.cat([columns, rest.expand(len(columns), -1)], 1)
    values, places = similarity.gather(1, columns).topk(k, 1)
    return values, columns.gather(1, places)
