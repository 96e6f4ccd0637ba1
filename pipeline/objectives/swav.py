"""SwAV: predict from one view of an image which prototypes another view is assigned to (Caron et al. 2020).

- scores: cosine of each crop's embedding and each prototype;
- codes (sinkhorn.py): for the first crops, the largest, soft assignments that use all prototypes equally over the
  batch of all processes, and over a queue where the batch is small (queue.py); no gradient;
- loss (prediction.py): cross-entropy between the codes of one crop and the softmax of every other crop's scores.
  Several sets of prototypes give codes and a loss each, of which the mean is taken.

The loss starts near ln K for K prototypes. It stays there where the embeddings have collapsed: the only equal
partition of samples that look alike is the uniform one. A lower epsilon, a longer freeze, hard codes at the start, a
higher rate or fewer prototypes help.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.backbone import Backbone
from pipeline.models.heads import ProjectionHead, Prototypes
from pipeline.models.precision import wide
from pipeline.objectives.collapse import energy_gap, spread, usage
from pipeline.objectives.collectives import world_size
from pipeline.objectives.objective import Objective, Outcome, Progress
from pipeline.objectives.prediction import swapped_prediction
from pipeline.objectives.queue import Queue, slots
from pipeline.objectives.sinkhorn import harden_, sinkhorn
from pipeline.views.views import Views


class SwAV(Objective):
    """A projection head and prototypes on the backbone."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        name: Literal["swav"] = "swav"
        prototypes: int | tuple[int, ...] = 3000
        """Prototypes (K), about ten per kind of thing in the data; or several sets of them, such as [3000, 3000]."""
        temperature: float = 0.1
        """Divides the scores in the prediction's softmax."""
        epsilon: float = 0.05
        """Divides the scores in Sinkhorn-Knopp; lower makes codes sharper."""
        sinkhorn_iterations: int = 3
        """Iterations of Sinkhorn-Knopp; SEER took 10."""
        assigned: int = 2
        """Crops that codes are computed for, the first ones of the first group."""
        freeze_prototypes: int = 313
        """Steps at the start in which prototypes do not move."""
        hard_codes: int = 0
        """Steps at the start in which a sample's code is all on one prototype, for a loss that stays at ln K."""
        power_law: float = 0.0
        """Prototype number k gets samples in proportion to 1 / k to this power; 0 for equal shares."""
        queue: int = 0
        """Past samples that take part in Sinkhorn-Knopp, over all processes, in whole batches; 0 for none."""
        queue_start: float = 0.0
        """Epochs before the queue takes part; it never does before it is full."""
        hidden: tuple[int, ...] = (2048,)
        """Widths of the projection head's hidden layers."""
        dim: int = 128
        """Length of an embedding."""
        batch_norm: bool = True
        """Whether the projection head has BatchNorm; SEER's larger models have none."""

        def __post_init__(self) -> None:
            for name in ("sinkhorn_iterations", "assigned", "dim", "temperature", "epsilon"):
                if not getattr(self, name) > 0:
                    raise ValueError(f"{name} must be above 0")
            for name in ("freeze_prototypes", "hard_codes", "power_law", "queue", "queue_start"):
                if not getattr(self, name) >= 0:
                    raise ValueError(f"{name} must be at least 0")
            if not self.sets or min(self.sets) < 2:
                raise ValueError("prototypes must be at least 2")

        @property
        def sets(self) -> tuple[int, ...]:
            """Prototypes of each set."""
            return (self.prototypes,) if isinstance(self.prototypes, int) else self.prototypes

        def check(self, batch: int) -> list[str]:
            """What is doubtful at a global batch of `batch`, a sentence each. Raises ValueError for what cannot be."""
            if self.queue:
                slots(self.queue, batch)
            samples, most = batch + self.queue, max(self.sets)
            if most <= samples:
                return []
            longer = (math.ceil(most / batch) - 1) * batch
            return [
                f"objective.prototypes: {most} are more than the {samples} samples they are shared out among (batch "
                f"{batch}, queue {self.queue}), so a code is spread over {most / samples:.1f} of them and the loss may "
                f"stay at ln K = {math.log(most):.2f} (SEER went up to 4); take fewer, a larger batch, or "
                f"objective.queue={longer}"
            ]

        def build(self, backbone: Backbone) -> SwAV:
            return SwAV(self, backbone)

    def __init__(self, config: Config, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.config = config
        self.head = ProjectionHead(backbone.width, config.hidden, config.dim, batch_norm=config.batch_norm)
        # All sets are one matrix, and for LARC one layer: one product scores them, and one key holds them.
        self.prototypes = Prototypes(config.dim, sum(config.sets))
        self.queue = Queue(config.assigned, config.queue, config.dim) if config.queue else None
        self._newest: Tensor | None = None

    def forward(self, views: Views, progress: Progress) -> Outcome:
        config, batch, crops = self.config, len(views.indices), len(views.crops[0])
        if crops < config.assigned:
            raise ValueError(
                f"SwAV is to compute codes for {config.assigned} crops of the first group, which has {crops}; "
                f"set objective.assigned={crops} or a higher count in views.crops"
            )
        features = self.embed(views)
        embeddings = self.project(torch.cat(features)).view(-1, batch, config.dim)
        scores = self.prototypes(embeddings).split(config.sets, -1)
        self._newest = embeddings[: config.assigned].detach()
        codes = self._codes([each[: config.assigned].detach() for each in scores], batch, progress)
        losses = [swapped_prediction(s, c, config.temperature) for s, c in zip(scores, codes, strict=True)]
        metrics = self._metrics(features[0], embeddings, codes) if progress.recorded else {}
        return Outcome(torch.stack(losses).mean(), metrics)

    @torch.no_grad()
    def _codes(self, scores: list[Tensor], batch: int, progress: Progress) -> list[Tensor]:
        config, queued = self.config, ()
        queue = self.queue if progress.epoch >= config.queue_start else None
        if queue is not None and queue.is_full(batch * world_size(), progress.step):
            queued = self.prototypes(queue.share()).split(config.sets, -1)
        codes = sinkhorn(scores, config.epsilon, config.sinkhorn_iterations, queued=queued, power_law=config.power_law)
        return [harden_(each) for each in codes] if progress.step < config.hard_codes else codes

    def project(self, features: Tensor) -> Tensor:
        """Embeddings of unit length (N, dim) of backbone features, fp32."""
        return F.normalize(wide(self.head(features)), dim=1)

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """1 - cosine of the two embeddings: from 0 to 2."""
        return 1 - (self.project(x) * self.project(y)).sum(1)

    def prototype_scores(self, features: Tensor) -> Tensor:
        """Cosine of each sample's embedding and each prototype of the first set."""
        scores: Tensor = self.prototypes(self.project(features))
        return scores[:, : self.config.sets[0]]

    def adjust_gradients(self, progress: Progress) -> None:
        """Without a gradient a prototype gets neither momentum nor weight decay: it stays where it is, to the bit."""
        if progress.step < self.config.freeze_prototypes:
            self.prototypes.weight.grad = None

    def finish_step(self, progress: Progress) -> None:
        if progress.step >= self.config.freeze_prototypes:
            self.prototypes.normalise_()
        if self.queue is not None and self._newest is not None:
            self.queue.push(self._newest, progress.step)
        self._newest = None

    @torch.no_grad()
    def _metrics(self, features: Tensor, embeddings: Tensor, codes: list[Tensor]) -> dict[str, Tensor]:
        def mean(figures: list[Tensor]) -> Tensor:
            return torch.stack(figures).mean()

        metrics = {
            "ln_k": codes[0].new_full((), sum(map(math.log, self.config.sets)) / len(codes)),
            "code_entropy": mean([torch.special.entr(each).sum(-1).mean() for each in codes]),
            "prototype_usage": mean([usage(each) for each in codes]),
            "feature_std": spread(features),
        }
        if len(embeddings) > 1:
            metrics["energy_gap"] = energy_gap(embeddings[0], embeddings[1])
        return metrics
