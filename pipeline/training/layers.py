"""Rates that differ along the depth of a network: lower layers have learnt more general things, and are moved less.

The rate of a layer that lies h layers below the heads is the full rate times decay ** h, as Clark et al. 2020 (ELECTRA)
and Bao et al. 2022 (BEiT) fine-tune, and the heads have one of their own: what is new may go faster than what is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pipeline.training.groups import Member


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Factors on the rate, and the heads' own weight decay."""

    decay: float = 1.0
    """Rate of each layer, as a share of that of the layer above it; 1 for the same everywhere."""
    unit: Literal["block", "stage"] = "block"
    """What a layer is: a residual block or a whole stage. The stem is one of its own."""
    head: float = 1.0
    """Factor on the rate of what stands on the backbone: classifier, projection, prototypes."""
    head_weight_decay: float | None = None
    """Weight decay of what stands on the backbone; null for that of the rest."""

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be above 0 and at most 1, not {self.decay:g}; 0.75 per stage is a beginning")
        if not 0 < self.head < math.inf:
            raise ValueError(f"head must be above 0, not {self.head:g}; objective.freeze_backbone trains it alone")
        if self.head_weight_decay is not None and not 0 <= self.head_weight_decay < math.inf:
            raise ValueError("head_weight_decay must be at least 0")

    def factor(self, member: Member) -> float:
        """What the full rate is multiplied by for a parameter."""
        height = member.height.blocks if self.unit == "block" else member.height.stages
        return self.decay**height if height else self.head

    def weight_decay(self, member: Member, usual: float) -> float:
        """The weight decay of a parameter, where it decays at all."""
        own = self.head_weight_decay
        return usual if member.height.blocks or own is None else own
