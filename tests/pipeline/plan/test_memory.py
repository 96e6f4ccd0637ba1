"""The counted bytes are those that the allocator gives out."""

from __future__ import annotations

import pytest
import torch

from pipeline.plan.memory import Memory
from pipeline.plan.pretended import without_memory

MIB = 2**20


def test_a_tensor_counts_while_it_is_held() -> None:
    with Memory() as memory:
        first = torch.zeros(MIB, dtype=torch.uint8)
        assert memory.now == MIB
        second = first + 1
        assert memory.now == 2 * MIB
        del first
        assert memory.now == MIB
        del second
        assert (memory.now, memory.peak) == (0, 2 * MIB)


def test_views_and_changes_in_place_take_nothing() -> None:
    with Memory() as memory:
        tensor = torch.zeros(4, MIB, dtype=torch.uint8)
        others = [tensor.T, tensor[1:], tensor.add_(1), tensor.view(-1)]
        assert memory.peak == 4 * MIB
        del tensor
        assert memory.now == 4 * MIB, "a view holds it"
        del others
        assert memory.now == 0


def test_what_is_given_back_by_resizing_is_gone() -> None:
    with Memory() as memory:
        tensor = torch.zeros(MIB, dtype=torch.uint8)
        tensor.untyped_storage().resize_(0)
        assert memory.now == 0
        tensor.untyped_storage().resize_(MIB // 2)
        assert (memory.now, memory.peak) == (MIB // 2, MIB)
    assert torch.UntypedStorage.resize_.__qualname__ != "Memory.__enter__.<locals>.resize_and_count"


def test_what_is_kept_for_the_backward_pass_counts_and_ends_with_it() -> None:
    weight = torch.zeros(256, 256, requires_grad=True)
    with Memory() as memory:
        memory.hold([weight])
        images = torch.ones(1024, 256)
        loss = (images @ weight).relu().sum()
        del images
        assert memory.now == 4 * (256 * 256 + 2 * 1024 * 256 + 1)
        loss.backward()
        del loss
        assert memory.now == 2 * 4 * 256 * 256, "the weight and its gradient"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_without_memory_count_as_real_ones(dtype: torch.dtype) -> None:
    def steps() -> tuple[int, int]:
        layers = torch.nn.Conv2d(3, 8, 3, dtype=dtype), torch.nn.BatchNorm2d(8, dtype=dtype), torch.nn.ReLU()
        network = torch.nn.Sequential(*layers)
        with Memory() as memory:
            memory.hold([*network.parameters(), *network.buffers()])
            network(torch.zeros(4, 3, 64, 64, dtype=dtype)).sum().backward()
            return memory.peak, memory.now

    with without_memory():
        expected = steps()
    assert steps() == expected
    assert expected[0] > 4 * 8 * 62 * 62 * 2 * dtype.itemsize
