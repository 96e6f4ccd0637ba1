"""How many bytes one step needs, found by taking it with tensors that have no memory.

Forward, backward and optimizer run as they would: every crop size, gathered weights of FSDP2, recomputed blocks,
heads, Sinkhorn-Knopp, momentum. Not in it: work space of kernels, buffers of the network between machines, and what an
allocator cannot hand out because it is in pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipeline.objectives.objective import Objective, Progress
from pipeline.plan.assembled import Training
from pipeline.plan.memory import Memory
from pipeline.plan.state import remembered
from pipeline.training.guarded import Guarded
from pipeline.training.precision import autocast
from pipeline.views.views import Views


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Bytes alive on one process."""

    kept: int
    """Between forward and backward, beside the state: what the backward pass needs."""
    total: int
    """At most within the step, with the state."""


def peak(objective: Objective, optimizer: Guarded, training: Training) -> Peak:
    """Take a step as the process that holds `objective`, on black images of the recipe's shapes."""
    views, progress = black_views(training), Progress(step=0, steps=2)
    if training.trainer.layout == "ddp":  # which keeps the memory of gradients from step to step
        for parameter in objective.parameters():
            parameter.grad = torch.zeros_like(parameter)
    with Memory() as memory:
        memory.hold([*objective.parameters(), *objective.buffers(), *remembered(optimizer)])
        memory.hold(parameter.grad for parameter in objective.parameters())
        state = memory.now
        memory.hold(views.crops)
        with autocast(training.trainer, torch.device("cpu")):
            loss = objective(views, progress).loss
        kept = memory.now - state
        optimizer.scale(loss).backward()  # type: ignore[no-untyped-call]
        objective.adjust_gradients(progress)
        optimizer.step()
        objective.finish_step(progress)
        return Peak(kept=kept, total=memory.peak)


def black_views(training: Training) -> Views:
    """One process's share of a batch."""
    share = training.trainer.share
    crops = [torch.zeros(count, share, side, side, 3, dtype=torch.uint8) for count, side in training.crops]
    indices = torch.arange(share)
    return Views(tuple(group.permute(0, 1, 4, 2, 3) for group in crops), indices, torch.zeros_like(indices))
