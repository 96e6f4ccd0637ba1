"""From an objective on the meta device to one that trains, so that no process ever holds more than it will keep.

    prepare       BatchNorm over processes → recomputation → compiled blocks → shards; nothing has memory yet
    materialise   memory for what this process holds → the weights that the seed gives it

Weights (`weights.py`) and checkpoints are loaded over that, each process reading its own part. `pipeline.plan` takes
the first half to see what a process would hold.
"""

from __future__ import annotations

import torch

from pipeline.models.batchnorm import convert, group_of
from pipeline.models.initialise import initialise
from pipeline.objectives.objective import Objective
from pipeline.training.compiling import compile_blocks
from pipeline.training.placement import auto_groups
from pipeline.training.recompute import in_pieces, recompute
from pipeline.training.settings import TrainerConfig
from pipeline.training.sharding import mesh_of, shard


def prepare(objective: Objective, trainer: TrainerConfig, device_type: str) -> None:
    """Make `objective`, on the meta device or not, what `trainer` asks for, in place. A collective of the job."""
    backbone = objective.backbone
    ends = auto_groups(backbone) if trainer.recompute == "auto" else trainer.recompute
    if trainer.batchnorm_group is not None and trainer.processes > 1:
        convert(objective, group_of(trainer.batchnorm_group))
    if ends != "none":
        recompute(backbone, ends)
    in_pieces(backbone, trainer.pieces)
    if trainer.compile:
        compile_blocks(backbone)
    if trainer.precision == "fp64":
        objective.double()
    if trainer.layout in ("fsdp", "hsdp"):
        shard(objective, mesh_of(trainer, device_type), trainer)


def materialise(objective: Objective, device: torch.device, seed: int) -> None:
    """Give a prepared objective memory on `device` and the weights of `seed`, in place."""
    objective.to_empty(device=device)
    initialise(objective, seed)
