"""FSDP2 for an objective: every block of the backbone is a unit of its own, the rest is sharded at the root.

The objective is the root and is called once a step; the backbone inside may be called once per resolution.
"""

from __future__ import annotations

from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from pipeline.objectives.objective import Objective


def shard(objective: Objective, mesh: DeviceMesh) -> None:
    """Replace the parameters of `objective` by their shards over `mesh`, in place."""
    for block in objective.backbone.blocks():
        fully_shard(block, mesh=mesh)
    fully_shard(objective, mesh=mesh)
