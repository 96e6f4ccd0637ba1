"""BatchNorm over the batch of all processes, on any backend.

torch's SyncBatchNorm runs on CUDA only, so a recipe could not be tested on CPU and gloo. This one equals BatchNorm
over the global batch in value, gradient and running statistics:

- forward: each process's count, mean and sum of squared deviations are gathered in one collective and combined without
  cancellation (Chan et al. 1979); statistics are fp32 whatever the input's precision;
- backward: the sums over dy and dy * x_hat that the gradient of the input needs are reduced in one collective;
- on CUDA it is torch's native SyncBatchNorm, and with one process plain BatchNorm.

Gradients of weight and bias stay per process, as torch's do: data parallelism averages them with all others.

`group_of` makes the groups of a large job: SEER's larger models took statistics over 64 processes at a time. Under
FSDP2 the layers of a block may be one unit of their own, `fully_shard([*layers], ...)`, so that they stay in fp32 where
the rest of the block runs in bf16; with weights in bf16 they do not run.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.models.precision import wide


class SyncBatchNorm(nn.SyncBatchNorm):
    """BatchNorm1d and BatchNorm2d over a process group. Shapes: (N, C) or (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or _world(self.process_group) == 1:
            return _BatchNorm.forward(cast(_BatchNorm, self), input)
        if input.is_cuda:
            return super().forward(input)
        self._check_input_dim(input)
        output, mean, variance, count = cast(
            tuple[Tensor, Tensor, Tensor, Tensor],
            _Synchronised.apply(input, self.weight, self.bias, self.eps, self.process_group),
        )
        if self.track_running_stats:
            self._track(mean, variance * (count / (count - 1)))
        return output

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else torch.tensor(self.momentum)
        for running, batch in ((self.running_mean, mean), (self.running_var, variance)):
            running.lerp_(batch.to(running), share.to(running))

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f"SyncBatchNorm takes (N, C) or (N, C, H, W), not {tuple(input.shape)}")


def check_groups(size: int, world: int) -> None:
    """Raises ValueError unless `world` processes make whole groups of `size`; 0 stands for one group of all."""
    if size < 0 or (size and world % size):
        fit = [f"{n}" for n in range(1, world + 1) if world % n == 0]
        raise ValueError(
            f"BatchNorm cannot share statistics among groups of {size} of {world} processes; "
            f"sizes that fit are {', '.join(fit)}, and 0 for all"
        )


def group_of(size: int) -> dist.ProcessGroup | None:
    """This process's group of `size` processes of consecutive ranks, or of all for 0. Every process has to call it.

    It is new even where it holds all: a communicator works off its operations in order, so BatchNorm's small ones
    would wait behind the parameters that sharding gathers ahead. None without a process group. Raises ValueError
    for a size that does not divide the number of processes.
    """
    world = _world(None)
    check_groups(size, world)
    if not (dist.is_available() and dist.is_initialized()):
        return None
    size = size or world
    first = dist.get_rank() // size * size
    members = list(range(first, first + size))
    group = dist.new_group(members, use_local_synchronization=True, group_desc="batchnorm")
    assert isinstance(group, dist.ProcessGroup)
    return group


def convert(module: nn.Module, process_group: dist.ProcessGroup | None = None) -> None:
    """Replace every BatchNorm below `module` in place, keeping its tensors; those synchronised already stay."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
                setattr(parent, name, _synchronised(child, process_group))


def _synchronised(plain: nn.BatchNorm1d | nn.BatchNorm2d, process_group: dist.ProcessGroup | None) -> SyncBatchNorm:
    with torch.device("meta"):
        layer = SyncBatchNorm(
            plain.num_features, plain.eps, plain.momentum, plain.affine, plain.track_running_stats, process_group
        )
    for name, parameter in plain.named_parameters(recurse=False):
        setattr(layer, name, parameter)
    for name, buffer in plain.named_buffers(recurse=False):
        setattr(layer, name, buffer)
    return layer.train(plain.training)


class _Synchronised(torch.autograd.Function):
    """(x, weight, bias) -> (normalised x, global mean, global biased variance, global count).

    Passes over `x` are left to torch's own kernels, which know bf16 and channels_last.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, group: Any) -> Any:
        channels = x.shape[1]
        count = x.numel() // channels
        # The kernel computes in the precision of the running statistics it updates; these are thrown away.
        unused = x.new_zeros(2, channels, dtype=torch.promote_types(x.dtype, torch.float32))
        mean, variance = torch.batch_norm_update_stats(x, unused[0], unused[1], 0.0)
        mine = torch.cat([mean, variance * count, mean.new_full((1,), count)])
        every = mine.new_empty(_world(group), mine.numel())
        dist.all_gather(list(every.unbind()), mine, group=group)
        means, squares, counts = every[:, :channels], every[:, channels:-1], every[:, -1:]
        total = counts.sum()
        mean = (means * counts).sum(0) / total
        variance = (squares + counts * (means - mean) ** 2).sum(0) / total
        ctx.save_for_backward(x, weight, mean, variance, total)
        ctx.group, ctx.eps, ctx.has_bias = group, eps, bias is not None
        ctx.mark_non_differentiable(mean, variance, total)
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance, total

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> Any:
        x, weight, mean, variance, total = ctx.saved_tensors
        scale = torch.ones_like(mean) if weight is None else wide(weight)
        # With the statistics held fixed this is scale / std * grad, and the sums over grad * x_hat and over grad.
        partial, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, scale, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([grad_bias, grad_weight])
        dist.all_reduce(sums, group=ctx.group)
        sums = sums / total
        # What moving statistics add, -scale / std * (mean of grad + x_hat * mean of grad * x_hat), is linear in x.
        shift = -scale * torch.rsqrt(variance + ctx.eps) * sums[0]
        moved = F.batch_norm(x, mean, variance, -scale * torch.rsqrt(variance + ctx.eps) * sums[1], shift, eps=ctx.eps)
        affine = weight is not None
        return partial.add_(moved), grad_weight if affine else None, grad_bias if ctx.has_bias else None, None, None


def _world(group: dist.ProcessGroup | None) -> int:
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1
