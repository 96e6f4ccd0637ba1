"""Whether training is still about numbers: what is refused a checkpoint, and when a run stops.

A single gradient that is not finite is left out by the optimizer (`guarded.py`), which costs a step and nothing else.
Here is the rest: a run in which that has become the rule, and a state that is broken although its gradients were not.
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.errors import TrainingError
from pipeline.runs import Run
from pipeline.training.norms import local


@torch.no_grad()
def is_sound(objective: nn.Module, loss: Tensor) -> bool:
    """Whether the loss and every parameter are finite on all processes. A collective; waits for the device."""
    parameters = [local(parameter) for parameter in objective.parameters()]
    sizes = torch.stack([size.float() for size in torch._foreach_norm(parameters)])
    # Of finite squares a sum may be too large for fp32; a norm that is not finite is looked at again, number by number.
    suspects = [p for p, size in zip(parameters, sizes.tolist(), strict=True) if not math.isfinite(size)]
    broken = not all(bool(p.isfinite().all()) for p in suspects) or not math.isfinite(float(loss))
    found = torch.tensor(float(broken), device=loss.device)
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(found)
    return not bool(found)


def require_progress(loss: float, skipped_in_row: float, most: int, step: int, last: bool, run: Run) -> None:
    """Raise `TrainingError` after too many skipped steps in a row, or if there is no loss at the last step."""
    if skipped_in_row >= most:
        says = f"the last {skipped_in_row:.0f} steps had a gradient that is no number, and the loss is {loss}"
    elif last and not math.isfinite(loss):
        says = f"the loss is {loss}"
    else:
        return
    raise broken(says, step, run)


def broken(says: str, step: int, run: Run) -> TrainingError:
    """The error of a training that has come to no number."""
    return TrainingError(
        str(run.path),
        f"{says} at step {step}",
        "lower optimizer.rate or use trainer.precision=fp32, with another out=DIR; what was saved before is kept",
    )
