"""Features of every sample of a loader, once.

The loader runs one sequential pass (`shuffle=False`), so rows come in the order of the split; the backbone is in
evaluation mode meanwhile and as it was afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from data_shards.batch import Batch
from pipeline.models.backbone import Backbone
from pipeline.views.views import Views


class Features(NamedTuple):
    """On the CPU, one row a sample."""

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


def extract(
    backbone: Backbone,
    batches: Iterable[Batch],
    *,
    precision: torch.dtype = torch.float32,
    progress: Counter | None = None,
) -> Features:
    """Features of the first crop of every sample, where the backbone is.

    `precision` is that of the backbone's arithmetic, by autocast; `progress` is told of the samples of each batch.
    """
    device = next(backbone.parameters()).device
    features, labels, indices = [], [], []
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, precision, enabled=precision != torch.float32):
            for batch in batches:
                views = Views.of(batch)
                crops = views.crops[0][:1].to(device, non_blocking=True)
                features.append(backbone(backbone.prepare(crops)).float().cpu())
                # The loader reuses its arrays.
                labels.append(views.labels.clone())
                indices.append(views.indices.clone())
                if progress:
                    progress.update(len(views.indices))
    finally:
        backbone.train(training)
    if not features:
        return Features(torch.empty(0, backbone.width), torch.empty(0, dtype=torch.int64), torch.empty(0).long())
    return Features(torch.cat(features), torch.cat(labels), torch.cat(indices))
