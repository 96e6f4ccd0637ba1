"""From what is known to settings, each with its reason: a pure function of facts and two measurements.

Side, batch and length are chosen in this order; where the time would be too long, pictures become smaller first, then
training shorter, then only the classifier learns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.adaptation.known import Known
from pipeline.errors import TrainingError

SIDES = (128, 160, 192, 224, 288, 384)
"""Sides that a picture is made smaller to, pixels."""
SAMPLES, LEAST, MOST = 100_000, 5, 60
"""Pictures to learn from in all, and the passes over a set that this may come to."""
FROZEN = 3.0
"""How much faster a step is where only the classifier learns: it needs no backward pass, which takes two thirds."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """The settings, over all devices; `why` has a reason for each by name."""

    side: int
    """Of the pictures shown, pixels."""
    resize: int
    """Length of a test picture's shorter side before its centre is cut, pixels."""
    batch: int
    epochs: int
    frozen: bool
    """Whether only the classifier learns."""
    rate: float
    """Pictures per second that training is expected to take."""
    why: dict[str, str]

    def minutes(self, train: int) -> float:
        """That training on `train` pictures is expected to take."""
        return self.epochs * train / self.rate / 60


def guess(known: Known, minutes: float, fits: Callable[[int, int], int], rate: Callable[[int, int], float]) -> Guess:
    """The settings for a training of about `minutes`.

    `fits(side, most)` gives the largest batch that memory holds, 0 for none; `rate(side, batch)` pictures per second.
    Raises `TrainingError` where not one picture fits.
    """
    why: dict[str, str] = {}
    side = _side(known, why)
    batch = _batch(known, side, fits, why)
    epochs = min(MOST, max(LEAST, round(SAMPLES / max(1, known.train))))
    why["epochs"] = f"about {SAMPLES:,} pictures in all, and from {LEAST} to {MOST} epochs"
    took = known.devices * rate(side, batch // known.devices)
    made = Guess(side=side, resize=side, batch=batch, epochs=epochs, frozen=False, rate=took, why=why)
    made = _in_time(made, known, minutes)
    return replace(made, resize=max(made.side, round(made.side * known.view.resize / known.view.size)))


def _side(known: Known, why: dict[str, str]) -> int:
    wanted, enough = known.view.size, max(64, -(-2 * known.side // 32) * 32)
    if enough < wanted:
        why["side"] = f"twice the pictures' own {known.side} px; the checkpoint was shown {wanted}"
        return enough
    why["side"] = "what the checkpoint was shown"
    return wanted


def _batch(known: Known, side: int, fits: Callable[[int, int], int], why: dict[str, str]) -> int:
    most = 128 if known.on_gpu else 64
    while most > 8 and most * known.devices * 20 > known.train:
        most //= 2
    batch = fits(side, most)
    if not batch:
        raise TrainingError(
            "memory",
            f"{known.memory / 2**30:.1f} GiB are free, too little for one picture of {side} px through this network",
            "free some memory, or take a smaller checkpoint",
        )
    why["batch"] = "at least 20 steps an epoch" if batch == most else f"{known.memory / 2**30:.1f} GiB are free"
    return batch * known.devices


def _in_time(made: Guess, known: Known, minutes: float) -> Guess:
    why = dict(made.why)
    for side in sorted((side for side in SIDES if side < made.side), reverse=True):
        if made.minutes(known.train) <= minutes:
            break
        why["side"] = f"smaller than the checkpoint's {known.view.size} px, to end in {minutes:g} minutes"
        made = replace(made, side=side, rate=made.rate * (made.side / side) ** 2)
    if made.minutes(known.train) > minutes and made.epochs > LEAST:
        fit = int(minutes * 60 * made.rate / known.train)
        made = replace(made, epochs=max(LEAST, fit))
        why["epochs"] = f"as many as end in {minutes:g} minutes, and {LEAST} at least"
    if made.minutes(known.train) > 2 * minutes:
        made = replace(made, frozen=True, rate=made.rate * FROZEN)
        why["frozen"] = "the whole network would take too long here; set minutes=, or use a GPU"
    return replace(made, why=why)
