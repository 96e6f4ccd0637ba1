"""SwAV: predict from one view of an image which prototypes another view is assigned to (Caron et al. 2020).

- scores: cosine of each crop's embedding and each prototype;
- codes: for the crops of the first, largest group, soft assignments that use all prototypes equally over the batch
  of all processes (Sinkhorn-Knopp, no gradient);
- loss: cross-entropy between the codes of one crop and the softmax of every other crop's scores (eq. 2, and section 3.3
  for multi-crop).

The loss starts near ln K for K prototypes. It stays there where the embeddings have collapsed: the only equal
partition of samples that look alike is the uniform one. A lower epsilon, a longer freeze, a higher rate or fewer
prototypes help.
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
from pipeline.objectives.collapse import energy_gap, spread
from pipeline.objectives.collectives import maximum_, sum_
from pipeline.objectives.objective import Objective, Outcome, Progress
from pipeline.views.views import Views


class SwAV(Objective):
    """A projection head and prototypes on the backbone."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        name: Literal["swav"] = "swav"
        prototypes: int = 3000
        """Prototypes (K). About ten per kind of thing in the data; not many more than samples in a global batch."""
        temperature: float = 0.1
        """Divides the scores in the prediction's softmax."""
        epsilon: float = 0.05
        """Divides the scores in Sinkhorn-Knopp; lower makes codes sharper."""
        sinkhorn_iterations: int = 3
        """Iterations of Sinkhorn-Knopp; SEER took 10."""
        freeze_prototypes: int = 313
        """Steps at the start in which prototypes do not move."""
        hidden: tuple[int, ...] = (2048,)
        """Widths of the projection head's hidden layers."""
        dim: int = 128
        """Length of an embedding."""
        batch_norm: bool = True
        """Whether the projection head has BatchNorm; SEER's larger models have none."""

        def __post_init__(self) -> None:
            for name in ("prototypes", "sinkhorn_iterations", "dim", "temperature", "epsilon"):
                if not getattr(self, name) > 0:
                    raise ValueError(f"{name} must be above 0")
            if self.prototypes < 2:
                raise ValueError("prototypes must be at least 2")

        def build(self, backbone: Backbone) -> SwAV:
            return SwAV(self, backbone)

    def __init__(self, config: Config, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.config = config
        self.head = ProjectionHead(backbone.width, config.hidden, config.dim, batch_norm=config.batch_norm)
        self.prototypes = Prototypes(config.dim, config.prototypes)

    def forward(self, views: Views, progress: Progress) -> Outcome:
        batch, assigned = len(views.indices), len(views.crops[0])
        features = self.embed(views)
        embeddings = self.project(torch.cat(features))
        scores = self.prototypes(embeddings).view(-1, batch, self.config.prototypes)
        codes = sinkhorn(scores[:assigned].detach(), self.config.epsilon, self.config.sinkhorn_iterations)
        loss = swapped_prediction(scores, codes, self.config.temperature)
        return Outcome(loss, self._metrics(features[0], embeddings.view(-1, batch, self.config.dim), codes))

    def project(self, features: Tensor) -> Tensor:
        """Embeddings of unit length (N, dim) of backbone features, fp32."""
        return F.normalize(wide(self.head(features)), dim=1)

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        """1 - cosine of the two embeddings: from 0 to 2."""
        return 1 - (self.project(x) * self.project(y)).sum(1)

    def prototype_scores(self, features: Tensor) -> Tensor:
        """Cosine of each sample's embedding and each prototype."""
        scores: Tensor = self.prototypes(self.project(features))
        return scores

    def adjust_gradients(self, progress: Progress) -> None:
        """Without a gradient a prototype gets neither momentum nor weight decay: it stays where it is, to the bit."""
        if progress.step < self.config.freeze_prototypes:
            self.prototypes.weight.grad = None

    def finish_step(self, progress: Progress) -> None:
        if progress.step >= self.config.freeze_prototypes:
            self.prototypes.normalise_()

    @torch.no_grad()
    def _metrics(self, features: Tensor, embeddings: Tensor, codes: Tensor) -> dict[str, Tensor]:
        prototypes = self.config.prototypes
        metrics = {
            "ln_k": codes.new_full((), math.log(prototypes)),
            "code_entropy": torch.special.entr(codes).sum(-1).mean(),
            "prototype_usage": usage(codes),
            "feature_std": spread(features),
        }
        if len(embeddings) > 1:
            metrics["energy_gap"] = energy_gap(embeddings[0], embeddings[1])
        return metrics


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Codes (crops, batch, K) of scores (crops, batch, K): Sinkhorn-Knopp over the batch of all processes, in fp32.

    The plain algorithm takes Q = exp(scores / epsilon), divides its rows (prototypes) by their sums over the batch
    and its columns (samples) by theirs, in turn. Here the divisors are collected in two vectors and Q itself is
    never rewritten:

    - Q = P * weight, with P scaled to a maximum of 1 a sample and weight relative to the maximum of all processes, so
      nothing overflows and no sample underflows to zero whatever the range of scores;
    - an iteration is two matrix-vector products and one collective for all crops; one more finds the maximum.

    A constant factor of the divisors cancels out: they are kept near 1, and processes may hold different numbers of
    samples.
    """
    with torch.autocast(scores.device.type, enabled=False):
        scores = wide(scores)
        tiny = torch.finfo(scores.dtype).tiny
        peaks = scores.amax(-1)
        assignments = torch.exp((scores - peaks.unsqueeze(-1)) / epsilon)
        highest = maximum_(peaks.amax(-1))
        weights = torch.exp((peaks - highest.unsqueeze(-1)) / epsilon)
        for _ in range(iterations):
            used = sum_(torch.stack([q.T @ weight for q, weight in zip(assignments, weights, strict=True)]))
            used = (used / used.amax(-1, keepdim=True)).clamp_min(tiny)
            shares = 1 / (scores.shape[-1] * used)
            weights = 1 / torch.stack([q @ share for q, share in zip(assignments, shares, strict=True)])
        return assignments.mul_(shares.unsqueeze(1)).mul_(weights.unsqueeze(-1))


def swapped_prediction(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Mean cross-entropy of codes (A, batch, K) and the scores (V, batch, K) of every other view; a scalar.

    The codes are those of the first A of the V views. As a code sums to one, the cross-entropy is
    logsumexp(scores / t) - code . scores / t, and no log-softmax of all views is kept.
    """
    assigned, views = len(codes), len(scores)
    if views < 2:
        raise ValueError("SwAV predicts one view from another, so it needs at least two crops an image")
    scores = scores / temperature
    norms = scores.logsumexp(-1)
    others = scores.sum(0) - scores[:assigned]
    agreement = (codes * others).sum(-1)
    return (norms.sum(0) - norms[:assigned] - agreement).mean() / (views - 1)


def usage(codes: Tensor) -> Tensor:
    """How evenly samples fall on prototypes: perplexity of the codes' peaks over the most it can be, 0 to 1."""
    samples, prototypes = codes.flatten(0, -2).shape
    nearest = codes.flatten(0, -2).argmax(-1)
    counts = torch.zeros(prototypes, device=codes.device).scatter_add_(0, nearest, torch.ones_like(nearest).float())
    perplexity: Tensor = torch.special.entr(counts / samples).sum().exp()
    return perplexity / min(samples, prototypes)
