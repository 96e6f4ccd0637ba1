"""How long a training is and how fast it learns: steps, samples, epochs, warm-up, peak rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.plan.assembled import Training
from pipeline.training.schedules import Duration


@dataclass(frozen=True, kw_only=True)
class Length:
    """None is what cannot be known without the data."""

    steps: int | None
    samples: int | None
    """Seen in all of the training, counted each time."""
    epochs: float | None
    warmup: int | None
    """Steps until the rate is whole."""
    rate: float
    """The whole learning rate, for the global batch."""
    checkpoint_every: int | None
    """Steps; None where it goes by the clock (auto), or is not known."""


def length(training: Training, rate: float) -> Length:
    """The length of a training whose optimizer has the whole rate `rate`."""
    trainer = training.trainer
    per_epoch = training.samples / trainer.batch if training.samples else None
    steps = _steps(trainer.duration, per_epoch, None)
    samples = None if steps is None else steps * trainer.batch
    return Length(
        steps=steps,
        samples=samples,
        epochs=samples / training.samples if samples and training.samples else None,
        warmup=_steps(training.schedule.warmup, per_epoch, steps),
        rate=rate,
        checkpoint_every=_steps(trainer.checkpoint_every, per_epoch, steps),
    )


def _steps(text: str | int, per_epoch: float | None, total: int | None) -> int | None:
    if text == "auto":
        return None
    duration = Duration.parse(text)
    if (duration.unit == "epochs" and per_epoch is None) or (duration.unit == "%" and total is None):
        return None
    return math.ceil(duration.steps(per_epoch or 0.0, total))
