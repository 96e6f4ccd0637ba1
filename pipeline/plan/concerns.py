"""What looks wrong in a plan, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.plan.assembled import Training
from pipeline.plan.planned import Plan
from pipeline.training.settings import TrainerConfig

GIB = 2**30
_FEW = 16  # images below which BatchNorm errs more and more (Wu and He 2018, figure 1)
_UNEVEN = 0.05  # more than an equal share that is worth a word


def concerns(plan: Plan, training: Training, memory: float | None = None) -> list[str]:
    """Sentences about `plan`, on devices of `memory` GiB."""
    return list(_concerns(plan, training, memory))


def _concerns(plan: Plan, training: Training, memory: float | None) -> Iterator[str]:
    if memory is not None and plan.needed > memory * GIB:
        what = "a step takes" if plan.peak else "weights, gradients and optimizer alone take"
        yield (
            f"{what} {plan.needed / GIB:.1f} GiB, which a device of {memory:g} GiB has not: "
            "more processes, a smaller batch, or trainer.recompute"
        )
    if plan.unevenness > _UNEVEN:
        yield (
            f"the first process holds {plan.unevenness:.0%} more than an equal share of the state: "
            f"whole rows are dealt, and few tensors have a multiple of {plan.processes}"
        )
    steps, warmup = plan.length.steps, plan.length.warmup
    if steps is not None and warmup is not None and warmup >= steps:
        yield f"the warm-up of {warmup:,} steps is as long as the training, so the rate never becomes whole"
    seen = _seen_by_batchnorm(training.trainer)
    if seen < _FEW:
        yield f"BatchNorm sees {seen} images at a time; trainer.sync_batchnorm and trainer.pieces decide how many"
    yield from training.doubts


def _seen_by_batchnorm(trainer: TrainerConfig) -> int:
    group = trainer.batchnorm_group
    processes = 1 if group is None else group or trainer.processes
    return processes * trainer.share // trainer.pieces
