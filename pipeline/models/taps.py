"""Taps: vectors taken from inside a frozen backbone, all in one forward pass.

    average             the mean over the last map: what `backbone(images)` gives
    res4 pool 2x1       stage res4 averaged to a grid two high and one wide, channel by channel
    res5 gem            generalised mean with exponent 3 (Radenovic et al. 2019, eq. 3), for retrieval
    res3 max            the maximum over the map

A name is a stage and a pool; without a stage it is the last one. Stages are called as SEER calls them: the stem is
res1, so res2 is the first stage. SEER probed `res4 pool 7x1` of RG-32 to `res4 pool 2x1` of RG-256 beside res5 and
the average (VISSL `configs/config/benchmark/linear_image_classification/imagenet1k/models/`), and asked nearest
neighbours at `res3 pool 2x2`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.models.backbone import Backbone
from pipeline.models.pooling import average

AVERAGE = "average"
"""The tap that is the backbone's own output."""
EXPONENT = 3.0
"""Of the generalised mean: the one that networks for retrieval settle near."""
_NAME = re.compile(r"(?:res([1-9]\d?)\s+)?(?:(average|max|gem)|pool\s+([1-9]\d*)x([1-9]\d*))")


@dataclass(frozen=True)
class Tap:
    """What one name means."""

    name: str
    stage: int | None
    """Counted from 1; None for the last."""
    pool: Literal["average", "max", "gem", "grid"]
    grid: tuple[int, int] = (1, 1)
    """Height and width of what a map is averaged to."""

    @classmethod
    def of(cls, name: str) -> Tap:
        """The tap of a name. Raises ValueError for what is none."""
        match = _NAME.fullmatch(name.strip())
        if match is None or match[1] == "1":
            raise ValueError(
                f"{name!r} is no tap; write a pool (average, max, gem, pool 2x1), or a stage and a pool: res4 pool 2x1"
            )
        stage = int(match[1]) - 1 if match[1] else None
        if match[3]:
            return cls(name, stage, "grid", (int(match[3]), int(match[4])))
        return cls(name, stage, match[2])  # type: ignore[arg-type]  # one of the three words

    def place(self, stages: int) -> int:
        """Which of the `stages` it is taken from, counted from 0. Raises ValueError for one that is not there."""
        if self.stage is not None and self.stage > stages:
            raise ValueError(f"tap {self.name!r}: the network has the stages res2 to res{stages + 1}")
        return stages - 1 if self.stage is None else self.stage - 1

    def width(self, widths: Sequence[int]) -> int:
        """Length of its vector, given the channels of each stage (`RegNet.Config.stages().widths`)."""
        return widths[self.place(len(widths))] * math.prod(self.grid)

    def take(self, x: Tensor) -> Tensor:
        """The vectors (N, width) of a map (N, C, h, w), at least in fp32 whatever autocast made of the map."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        if self.pool == "average":
            return average(x, dtype)
        if self.pool == "max":
            return x.amax((2, 3)).to(dtype)
        if self.pool == "gem":
            return x.to(dtype).clamp_min(1e-6).pow(EXPONENT).mean((2, 3)).pow(1 / EXPONENT)
        return F.adaptive_avg_pool2d(x.to(dtype), self.grid).flatten(1)


def taps(names: Sequence[str]) -> tuple[Tap, ...]:
    """The taps of some names. Raises ValueError for none, for one given twice, and for what is no tap."""
    if not names:
        raise ValueError(f"no tap is named; {AVERAGE} is the backbone's own output")
    if doubled := {name for name in names if list(names).count(name) > 1}:
        raise ValueError(f"named twice: {', '.join(sorted(doubled))}")
    return tuple(map(Tap.of, names))


def gather(backbone: Backbone, images: Tensor, wanted: Sequence[Tap]) -> dict[str, Tensor]:
    """Vectors (N, width) by the name of their tap, for prepared images (N, 3, H, W), in one forward pass.

    No map is kept longer than its taps take. Raises ValueError for a stage that the backbone has not.
    """
    found: dict[str, Tensor] = {}
    stages = backbone.stages()
    at: dict[int, list[Tap]] = {}
    for tap in wanted:
        at.setdefault(tap.place(len(stages)), []).append(tap)

    def take(here: list[Tap], stage: nn.Module, inputs: Any, output: Tensor) -> None:
        found.update({tap.name: tap.take(output) for tap in here})

    handles = [stages[place].register_forward_hook(partial(take, here)) for place, here in at.items()]
    try:
        backbone.features(images)
    finally:
        for handle in handles:
            handle.remove()
    return {tap.name: found[tap.name] for tap in wanted}
