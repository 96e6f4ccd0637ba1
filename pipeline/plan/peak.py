"""How many bytes one step needs, found by taking it with tensors that have no memory.

Forward, backward and optimizer run as they would: every crop size, gathered weights of FSDP2, recomputed blocks,
heads, Sinkhorn-Knopp, momentum. Not in it: work space of kernels, buffers of the network, and what an allocator cannot
hand out because it is in pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from pipeline.objectives.objective import Objective, Progress
from pipeline.plan.assembled import Training
from pipeline.plan.memory import Memory
from pipeline.plan.state import fill_optimizer, remembered
from pipeline.views.views import Views


@dataclass(frozen=True, kw_only=True)
class Peak:
    """Bytes alive on one process."""

    kept: int
    """Between forward and backward, beside the state: what the backward pass needs."""
    total: int
    """At most within the step, with the state."""


def peak(objective: Objective, optimizer: Optimizer, training: Training) -> Peak:
    """Take a step as the process that holds `objective`, on noise of the recipe's shapes."""
    fill_optimizer(objective, optimizer)
    optimizer.zero_grad()
    views = blank_views(training)
    progress = Progress(step=0, steps=2)
    with Memory() as memory:
        memory.hold([*objective.parameters(), *objective.buffers(), *remembered(optimizer)])
        state = memory.now
        memory.hold(views.crops)
        with torch.autocast("cpu", torch.bfloat16, enabled=training.trainer.precision == "bf16"):
            loss = objective(views, progress).loss
        kept = memory.now - state
        loss.backward()
        objective.adjust_gradients(progress)
        optimizer.step()
        objective.finish_step(progress)
        return Peak(kept=kept, total=memory.peak)


def blank_views(training: Training) -> Views:
    """One process's share of a batch, black."""
    share = training.trainer.batch // training.trainer.processes
    crops = [torch.zeros(count, share, side, side, 3, dtype=torch.uint8) for count, side in training.crops]
    indices = torch.arange(share)
    return Views(tuple(group.permute(0, 1, 4, 2, 3) for group in crops), indices, torch.zeros_like(indices))
