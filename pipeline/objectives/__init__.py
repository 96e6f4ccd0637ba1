"""Objectives: each turns views into a loss and owns what it needs for that.

How to add one, in one file:

1. subclass `Objective` in `objectives/<paper>.py`; cite the paper and its equations in the docstring;
2. give it a nested `Config` (frozen, keyword-only dataclass) with `name: Literal["<paper>"]`, a help string under every
   field, `build(backbone)`, and `check(batch)`, which says what is doubtful at a global batch;
3. keep its maths in pure functions beside it, so that a test compares them with a transcription of the paper;
4. sums over the batch go through `collectives`, so that two processes give the loss and gradient of one;
5. training builds it on the meta device and fills it afterwards, so what lasts longer than a step is a parameter or a
   buffer, and a module with buffers of its own says in `reset_buffers()` how they start;
6. put its Config into `AnyObjective` below, and a recipe into `configs/pretrain/`.

`tests/pipeline/objectives/test_contract.py` then takes it through what every objective owes: a finite loss whose
gradient reaches the backbone, an energy that tells a match from a collapse, state that survives a checkpoint, and
two processes equal to one, whole or sharded, built on meta or not.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.objectives.barlow_twins import BarlowTwins
from pipeline.objectives.classification import Classification
from pipeline.objectives.objective import Objective, Outcome, Progress
from pipeline.objectives.swav import SwAV

AnyObjective = Annotated[SwAV.Config | BarlowTwins.Config, Field(discriminator="name")]
"""The config of any self-supervised objective. `Classification`, which needs to know the classes, is fine-tuning's."""

__all__ = ["AnyObjective", "BarlowTwins", "Classification", "Objective", "Outcome", "Progress", "SwAV"]
