"""Features of every sample of a loader, once.

The loader runs one sequential pass (`shuffle=False`), so rows come in the order of the split; the backbone is in
evaluation mode meanwhile and as it was afterwards. A sample that cannot be decoded has no row: what the loader puts in
its place is another sample, which is counted where it belongs. How many there were, the loader's ledger says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from data_shards.batch import Batch
from pipeline.models.backbone import Backbone
from pipeline.models.taps import AVERAGE, Tap, gather, taps
from pipeline.views.views import Views


class Features(NamedTuple):
    """On the CPU, one row a sample that could be decoded."""

    features: Tensor
    """Backbone features (N, width), fp32."""
    labels: Tensor
    """Class of each sample (N), int64, -1 where it has none."""
    indices: Tensor
    """Index of each sample within its split (N), int64."""

    def labelled(self) -> Features:
        """Without the samples that have no label."""
        known = self.labels >= 0
        return Features(self.features[known], self.labels[known], self.indices[known])


class Counter(Protocol):
    """What `data_shards.progress.Progress` is here."""

    def update(self, count: int, /) -> object: ...


class Tapped(NamedTuple):
    """What one batch gives, on the CPU: one row a sample that could be decoded."""

    vectors: dict[str, Tensor]
    """Vectors (B, width) by the name of their tap, fp32."""
    labels: Tensor
    indices: Tensor
    seen: int
    """Samples of the batch, with those that could not be decoded."""


def tapped(
    backbone: Backbone, batches: Iterable[Batch], wanted: Sequence[Tap], *, precision: torch.dtype = torch.float32
) -> Iterator[Tapped]:
    """Every batch through the frozen backbone, where that is; of its first crop, all taps in one forward pass."""
    device = next(backbone.parameters()).device
    training = backbone.training
    backbone.eval()
    try:
        for batch in batches:
            views, own = Views.of(batch), torch.from_numpy(batch.own)
            crops = views.crops[0][:1].to(device, non_blocking=True)
            with torch.no_grad(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
                found = gather(backbone, backbone.prepare(crops), wanted)
            vectors = {name: vector.float().cpu()[own] for name, vector in found.items()}
            # Indexing copies what the loader will write over.
            yield Tapped(vectors, views.labels[own], views.indices[own], len(own))
    finally:
        backbone.train(training)


def extract(
    backbone: Backbone,
    batches: Iterable[Batch],
    *,
    precision: torch.dtype = torch.float32,
    progress: Counter | None = None,
) -> Features:
    """The backbone's own output for the first crop of every sample that can be decoded.

    `precision` is that of the backbone's arithmetic, by autocast; `progress` is told of the samples of each batch.
    """
    found: list[Features] = []
    for batch in tapped(backbone, batches, taps([AVERAGE]), precision=precision):
        found.append(Features(batch.vectors[AVERAGE], batch.labels, batch.indices))
        if progress:
            progress.update(batch.seen)
    if not found:
        return Features(torch.empty(0, backbone.width), torch.empty(0, dtype=torch.int64), torch.empty(0).long())
    return Features(*map(torch.cat, zip(*found, strict=True)))
