"""Who holds what of an objective: FSDP2 over all processes or within each node, or a whole copy in each (DDP).

What FSDP2 gathers and reduces together, each in one collective:

- a block of the backbone, without its BatchNorms, whose weights may travel in 16 bits;
- a head (every other child of the objective), in fp32, kept from the forward pass to the backward pass, which begins
  with it;
- the rest in fp32, at the root: the stem, and the weights and biases of all BatchNorms. These are a thousandth of the
  weights and are used all over the network, so they are gathered once a step, and no layer waits for its own.

The objective is the root and is called once a step; the backbone inside may be called once per resolution.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, cast

from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.fsdp._fully_shard._fsdp_common import TrainingState
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from pipeline.objectives.objective import Objective
from pipeline.training.precision import gathered, reduced
from pipeline.training.recompute import is_recomputing
from pipeline.training.settings import TrainerConfig


def mesh_of(trainer: TrainerConfig, device_type: str) -> DeviceMesh:
    """The processes of the job as FSDP2 takes them: in a row, or nodes by processes within a node. A collective."""
    if trainer.layout == "hsdp":
        shape, names = (trainer.nodes, trainer.devices), ("replicate", "shard")
    else:
        shape, names = (trainer.processes,), ("shard",)  # type: ignore[assignment]
    return init_device_mesh(device_type, shape, mesh_dim_names=names)


def shard(objective: Objective, mesh: DeviceMesh, trainer: TrainerConfig) -> None:
    """Replace the parameters of `objective` by their shards over `mesh`, in place. It may be on the meta device."""
    norms = [layer for block in objective.backbone.blocks() for layer in block.modules() if _is_norm(layer)]
    apart = {parameter for layer in norms for parameter in layer.parameters(recurse=False)}
    low = MixedPrecisionPolicy(gathered(trainer), reduced(trainer), cast_forward_inputs=False)
    for block in objective.backbone.blocks():
        fully_shard(block, mesh=mesh, mp_policy=low, ignored_params=apart)
        recomputable(block, keep=trainer.pieces == 1)
    for head in _heads(objective):
        fully_shard(head, mesh=mesh, reshard_after_forward=False)
    # The root takes what lies below it and in no unit. Below a block its search does not go; so it is shown the
    # BatchNorms for a moment, without which nothing refers to them by another name.
    objective.add_module(_NORMS, nn.ModuleList(norms))
    fully_shard(objective, mesh=mesh)
    delattr(objective, _NORMS)


_NORMS = "_norms_of_blocks"


def replicate(objective: Objective, trainer: TrainerConfig) -> DistributedDataParallel:
    """The objective as DDP calls it. Parameters stay `objective`'s own, whole, under their names.

    The graph is static: only then may a block be recomputed several times in a backward pass.
    """
    device = next(objective.parameters()).device
    with warnings.catch_warnings():
        # Buffers belong to each process: running statistics of BatchNorm groups, SwAV's queue.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        replicated = _Replicated(
            objective,
            device_ids=[device.index] if device.type == "cuda" else None,
            broadcast_buffers=False,
            init_sync=False,
            gradient_as_bucket_view=True,
            static_graph=True,
        )
    # A 1x1 convolution's gradient says other strides for the same memory.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    if trainer.reduce == "bf16":
        replicated.register_comm_hook(None, bf16_compress_hook)
    return replicated


class _Replicated(DistributedDataParallel):
    def _passing_sync_batchnorm_handle(self, module: nn.Module) -> None:
        """Take every SyncBatchNorm. DDP refuses them on a CPU, where torch's own does not run; ours does."""


def _heads(objective: Objective) -> Iterator[nn.Module]:
    """Modules beside the backbone that have weights and are called."""
    for child in objective.children():
        if child is not objective.backbone:
            members = child.children() if isinstance(child, (nn.ModuleList, nn.ModuleDict)) else [child]
            yield from (member for member in members if any(True for _ in member.parameters()))


def _is_norm(layer: nn.Module) -> bool:
    return isinstance(layer, _BatchNorm) and any(True for _ in layer.parameters(recurse=False))


def recomputable(block: nn.Module, *, keep: bool = True) -> None:
    """Let a sharded block be run again within a backward pass, any number of times; `keep` its weights until then.

    FSDP2 (torch 2.14) takes a block that has had one backward pass for one whose backward pass is under way, and does
    not prepare the next: where a block had been run at two resolutions, the second gradient was lost, with no error.
    """

    def begin(block: nn.Module, inputs: Any) -> None:
        state = fully_shard.state(block)  # type: ignore[attr-defined]
        if is_recomputing() and state._training_state == TrainingState.PRE_BACKWARD:
            state._training_state = TrainingState.IDLE

    def let_go(block: nn.Module, inputs: Any, output: Any) -> None:
        if is_recomputing():
            cast(FSDPModule, block).reshard()

    block.register_forward_pre_hook(begin, prepend=True)
    if not keep:  # a piece runs the whole backbone again before its backward pass begins
        block.register_forward_hook(let_go)
