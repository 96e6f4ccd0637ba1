"""A compiled backbone computes what the plain one does."""

from __future__ import annotations

import logging
import shutil

import pytest
import torch
from torch import Tensor, nn

from pipeline.models.batchnorm import convert, group_of
from pipeline.models.pooling import Average
from tests.distributed import on_processes
from tests.pipeline.networks import small_backbone


def step(network: nn.Module, run: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """A training step of `network` through `run`, and an evaluation."""
    output = run(images)
    output.square().sum().backward()
    found = {f"grad of {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    found |= {name: buffer.clone() for name, buffer in network.named_buffers()}
    return found | {"output": output.detach()}


def compare(backend: str, fullgraph: bool, **settings: object) -> None:
    torch.manual_seed(0)
    plain, other = small_backbone(**settings), small_backbone(**settings)
    other.load_state_dict(plain.state_dict())
    compiled = torch.compile(other, backend=backend, fullgraph=fullgraph)
    assert isinstance(compiled, nn.Module)
    images = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    expected = step(plain, plain, images)
    assert expected["stem.bn.running_mean"].abs().max() > 0
    torch.testing.assert_close(step(other, compiled, images), expected, rtol=1e-4, atol=1e-4)


def test_a_backbone_is_one_graph_equal_to_the_plain_one_in_value_gradient_and_statistics() -> None:
    torch.compiler.reset()
    compare("aot_eager", fullgraph=True)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
def test_inductors_code_for_a_block_equals_the_plain_one() -> None:
    torch.compiler.reset()
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    compare("inductor", fullgraph=False, widths=(8,), depths=(1,), strides=(2,))


def synchronised(rank: int, world: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.compiler.reset()
    found = []
    for compiled in (False, True):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), Average())
        convert(network, group_of(0))
        run = torch.compile(network, backend="aot_eager") if compiled else network
        assert isinstance(run, nn.Module)
        images = torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))
        found.append(step(network, run, images[rank * 4 : rank * 4 + 4]))
    return found[0], found[1]


def test_batchnorm_over_processes_can_be_compiled() -> None:
    for plain, compiled in on_processes(synchronised, 2):
        torch.testing.assert_close(compiled, plain)
        assert plain["1.num_batches_tracked"] == 1
