"""What stands on a backbone while it trains: a projection, prototypes, a classifier.

Heads are modules of their own, so that sharding may treat each differently; a parameter may be an FSDP2 DTensor whose
rows lie on several processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from pipeline.models.laws import Law, constant, normal, unit_rows
from pipeline.models.precision import wide


class ProjectionHead(nn.Sequential):
    """Linear layers with ReLU between them: (N, width) -> (N, dim), never below fp32.

    Scores are divided by small temperatures, which makes bf16's three digits loud; beside the backbone a head costs
    next to nothing.
    Keys count through the layers as VISSL's `projection_head` does: 0, 2, 4 without BatchNorm and 0, 1, 3, 4, 6
    with it.
    """

    def __init__(self, width: int, hidden: Sequence[int], dim: int, *, batch_norm: bool = True) -> None:
        layers: list[nn.Module] = []
        for features in hidden:
            layers.append(nn.Linear(width, features))
            if batch_norm:
                layers.append(nn.BatchNorm1d(features))
            layers.append(nn.ReLU(inplace=True))
            width = features
        super().__init__(*layers, nn.Linear(width, dim))

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            features = wide(features)
            for layer in self:
                features = layer(features)
        return features


class Prototypes(nn.Module):
    """Unit vectors that embeddings are compared with: (N, dim) -> scores (N, prototypes), never below fp32.

    The rows have length one from construction on, and whoever steps the optimizer calls `normalise_` afterwards; so the
    forward pass changes nothing, and what a checkpoint holds is what the next forward uses.
    """

    def __init__(self, dim: int, prototypes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(prototypes, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw uniform directions."""
        nn.init.normal_(self.weight)
        self.normalise_()

    def laws(self) -> dict[str, Law]:
        return {"weight": unit_rows}

    @torch.no_grad()
    def normalise_(self) -> None:
        """Bring every row to length one, in place. Sharded on its rows, each process normalises its own."""
        weight: Tensor = self.weight
        if isinstance(weight, DTensor):
            assert all(placement.is_replicate() or placement.is_shard(0) for placement in weight.placements)
            weight = weight.to_local()
        weight.copy_(F.normalize(weight, dim=1))

    def forward(self, embeddings: Tensor) -> Tensor:
        with torch.autocast(embeddings.device.type, enabled=False):
            return F.linear(wide(embeddings), wide(self.weight))


class Classifier(nn.Linear):
    """Class scores of features: (N, width) -> (N, classes). Starts near zero, so every class is equally likely."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__(width, classes)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.weight, std=0.01)
        nn.init.zeros_(self.bias)

    def laws(self) -> dict[str, Law]:
        return {"weight": normal(0.01), "bias": constant(0.0)}
