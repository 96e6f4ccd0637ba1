"""Norms of tensors of which processes hold shards."""

from __future__ import annotations

from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from pipeline.training.norms import global_norms
from tests.distributed import on_processes


def test_norms_of_ordinary_tensors_need_no_processes() -> None:
    tensors = [torch.ones(4), torch.full((2, 2), 3.0), torch.zeros(3), torch.empty(0)]
    torch.testing.assert_close(global_norms(tensors), torch.tensor([2.0, 6.0, 0.0, 0.0]))


def test_norms_of_half_precision_are_summed_in_fp32_and_one_tensor_in_fp64_makes_all_of_them_so() -> None:
    tensors = [torch.full((400_000,), 0.125, dtype=torch.bfloat16), torch.full((4,), 100.0, dtype=torch.float16)]
    torch.testing.assert_close(global_norms(tensors), torch.tensor([79.056942, 200.0]))
    assert global_norms([*tensors, torch.ones(3, dtype=torch.float64)]).dtype == torch.float64


def norms_of_every_kind(rank: int, world: int) -> tuple[Tensor, list[int]]:
    """Of (7, 3) tensors: plain, sharded within pairs, over pairs, over both, and replicated; and collectives' sizes."""
    mesh = init_device_mesh("cpu", (2, 2))
    whole = torch.arange(21, dtype=torch.float64).view(7, 3)
    ways = [(Replicate(), Shard(0)), (Shard(0), Replicate()), (Shard(0), Shard(1)), (Replicate(), Replicate())]
    tensors = [distribute_tensor((n + 2) * whole, mesh, way, src_data_rank=None) for n, way in enumerate(ways)]
    with mock.patch.object(dist, "all_reduce", wraps=dist.all_reduce) as reductions:
        norms = global_norms([whole, *tensors])
    return norms, [call.args[0].numel() for call in reductions.call_args_list]


def test_plain_replicated_and_sharded_tensors_may_be_mixed_over_any_dimensions_of_a_mesh() -> None:
    expected = torch.arange(21, dtype=torch.float64).norm() * torch.tensor([1.0, 2, 3, 4, 5], dtype=torch.float64)
    for norms, sizes in on_processes(norms_of_every_kind, 4):
        torch.testing.assert_close(norms, expected, rtol=1e-14, atol=0)
        assert sizes == [2, 1], "those with two replicas together, and the one without"


def norms_of_replicas_that_differ(rank: int, world: int) -> Tensor:
    mesh = init_device_mesh("cpu", (2, 2))
    replicated = distribute_tensor(torch.ones(4, 3), mesh, (Replicate(), Shard(0)), src_data_rank=None)
    replicated.to_local()[0, 0] += 1e-3 * rank
    broken = distribute_tensor(torch.ones(4, 3), mesh, (Replicate(), Shard(0)), src_data_rank=None)
    broken.to_local()[0, 0] = float("nan") if rank == 3 else 1.0
    return global_norms([replicated, broken])


def test_replicas_are_told_the_same_to_the_bit_even_where_they_differ() -> None:
    found = on_processes(norms_of_replicas_that_differ, 4)
    for norms in found:
        assert torch.equal(norms[0], found[0][0])
        assert norms[1].isnan()


def norms_on_part_of_the_processes(rank: int, world: int) -> Tensor:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicas", "shards"))["shards"]
    return global_norms([distribute_tensor(torch.ones(4, 4), mesh, [Shard(0)], src_data_rank=None)])


def test_a_mesh_may_be_a_part_of_the_processes() -> None:
    for norms in on_processes(norms_on_part_of_the_processes, 4):
        torch.testing.assert_close(norms, torch.tensor([4.0]))
