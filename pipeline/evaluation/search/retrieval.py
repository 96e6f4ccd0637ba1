"""Retrieval: what a search by cosine finds of a query's own class in a gallery of any size.

    mAP          mean over queries of the average precision of the whole ranking: the mean, over the images of the
                 query's class, of the share of that class among all that are at least as similar. Images that are
                 equally similar share their precision, as in scikit-learn, so collapsed features score as chance
    mAP@k        the same of the first k, where the best possible is 1: divided by the smaller of k and the class's size
    recall@k     share of queries with an image of their class among the first k (Jegou et al. 2011; Song et al. 2016)

A query without an image of its class in the gallery cannot be answered and does not count. The gallery is passed over
twice: for the similarities of a query's own class, and to count what lies above each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from pipeline.evaluation.features import Features
from pipeline.evaluation.search.neighbours import Neighbours, compared

Gallery = Callable[[], Iterable[Features]]
"""Passes over labelled features in chunks whose indices rise."""
RELEVANT_BYTES = 32
"""What is held for each query and image of the largest class, about."""


@torch.no_grad()
def sums(queries: Tensor, labels: Tensor, gallery: Gallery, ks: Sequence[int], own: Tensor | None = None) -> Tensor:
    """Sums over queries (Q, D) with labels (Q), -1 for none, fp64: answered, unanswerable, AP, AP@k …, recall@k …

    `own` has the index in the gallery that a query is and that does not count, -1 for none.
    """
    truth, device = labels.to(queries.device), queries.device
    found = Neighbours.none(len(queries), max(ks), device)
    rows, values = [], []
    for pair in compared(queries, gallery(), own):
        found.take(pair)
        same = (truth[pair.block].unsqueeze(1) == pair.labels) & (pair.similarity > -torch.inf)
        row, column = torch.nonzero(same, as_tuple=True)
        rows.append(row + pair.block.start)
        values.append(pair.similarity[row, column])
    sizes, relevant = _by_query(rows, values, len(queries), device)
    above = torch.zeros(len(queries), relevant.shape[1] + 1, dtype=torch.int64, device=device)
    for pair in compared(queries, gallery(), own):
        place = torch.searchsorted(relevant[pair.block], pair.similarity, right=True)
        above[pair.block].scatter_add_(1, place, torch.ones_like(place))
    answered = sizes > 0
    parts = [
        answered.sum(),
        ((truth >= 0) & ~answered).sum(),
        _average_precision(relevant, sizes, above)[answered].sum(),
    ]
    hits = (found.labels == truth.unsqueeze(1)) & (found.indices >= 0)
    precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1, device=device)
    for k in ks:
        gained = (precision.double() * hits)[:, :k].sum(1) / sizes.clamp(1, k)
        parts.append(gained[answered].sum())
    parts += [hits[:, :k].any(1)[answered].sum() for k in ks]
    return torch.stack([part.double() for part in parts]).cpu()


def _by_query(rows: list[Tensor], values: list[Tensor], queries: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images of its class for each query (Q), and their similarities (Q, most), rising, +inf where there are fewer."""
    row, value = (
        torch.cat([torch.empty(0, dtype=torch.int64, device=device), *rows]),
        torch.cat([torch.empty(0, device=device), *values]),
    )
    value, order = value.sort()
    row, stable = row[order].sort(stable=True)
    sizes = torch.bincount(row, minlength=queries)
    first = sizes.cumsum(0) - sizes
    table = torch.full((queries, int(sizes.max()) if queries else 0), torch.inf, device=device)
    table[row, torch.arange(len(row), device=device) - first[row]] = value[stable]
    return sizes, table


def _average_precision(relevant: Tensor, sizes: Tensor, counts: Tensor) -> Tensor:
    """Per query (Q), given similarities of its class, rising, and how many images lie between each two of them."""
    ranks = counts[:, 1:].flip(1).cumsum(1).flip(1)  # images at least as similar as each
    at_least = sizes.unsqueeze(1) - torch.searchsorted(relevant, relevant)  # of them, those of the class
    precision = torch.where(relevant < torch.inf, at_least.double() / ranks.clamp_min(1), 0.0)
    return precision.sum(1) / sizes.clamp_min(1)
