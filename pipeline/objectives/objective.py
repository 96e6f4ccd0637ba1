"""The seam of self-supervision: views in, a loss out.

An objective is an energy over pairs of views plus a way to keep that energy from being low everywhere. It owns all it
needs (heads, prototypes, teacher, queue); training calls these methods and knows no objective by name:

    start_epoch ─▶ [ forward ─▶ backward ─▶ adjust_gradients ─▶ optimizer ─▶ finish_step ] per step

Everything between `forward` and `finish_step` may run on sharded parameters (FSDP2), so an objective calls its modules
and touches parameters only through them.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from pipeline.models.backbone import Backbone
from pipeline.views.views import Views


class Outcome(NamedTuple):
    """What a step gives."""

    loss: Tensor
    """The scalar to descend."""
    metrics: Mapping[str, Tensor]
    """Detached scalars of this process, logged under these names; reading them is the caller's synchronisation."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where training stands. All processes have the same."""

    step: int = 0
    """Optimizer steps done."""
    steps: int = 1
    """Optimizer steps of the whole run."""
    epoch: float = 0.0
    """Passes over the training set done, with their fraction."""
    samples: int = 0
    """Samples consumed by all processes together."""
    recorded: bool = True
    """Whether anyone will read this step's metrics; where not, an objective may leave them out."""


class Objective(nn.Module, abc.ABC):
    """Turns views into a loss."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        """What survives pretraining; export and probe read only this."""

    @abc.abstractmethod
    def forward(self, views: Views, progress: Progress) -> Outcome:
        """The loss of this process's share of the batch; its mean over processes is what is descended."""

    @abc.abstractmethod
    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """Low when two views belong together: backbone features (pairs, width) twice -> energies (pairs)."""

    def prototype_scores(self, features: Tensor) -> Tensor | None:
        """Scores (N, K) of features (N, width) against what the objective sorts samples by; None where it does not."""
        return None

    def start_epoch(self, samples: int, progress: Progress) -> None:
        """Called before the first step of each epoch over `samples` samples."""

    def adjust_gradients(self, progress: Progress) -> None:
        """Called between the backward pass and the optimizer's step."""

    def finish_step(self, progress: Progress) -> None:
        """Called after the optimizer's step."""

    def embed(self, views: Views) -> list[Tensor]:
        """Backbone features of every group of crops (views * batch, width), one forward a resolution."""
        return [self.backbone(self.backbone.prepare(crops)) for crops in views.crops]
