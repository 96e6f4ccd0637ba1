"""Initialisation after construction on meta: the laws of the constructors, and the same values however sharded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from pipeline.models import RegNet
from pipeline.models.heads import Classifier, ProjectionHead, Prototypes
from pipeline.models.initialise import BLOCK, clean_name, held, initialise
from pipeline.models.laws import Law, constant, normal
from tests.distributed import on_processes
from tests.pipeline.networks import small_backbone


class Network(nn.Module):
    """Every kind of layer that the pipeline trains; 2 processes do not divide all rows, 4 leave some with none."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = small_backbone(widths=(12, 20), group_width=4, stem_width=6)
        self.head = ProjectionHead(20, (150,), 70)
        self.prototypes = Prototypes(70, 301)
        self.classifier = Classifier(20, 3)


def drawn(build: Callable[[], nn.Module] = Network, seed: int = 0) -> dict[str, Tensor]:
    """The tensors of a network that was built on meta."""
    with torch.device("meta"):
        network = build()
    initialise(network.to_empty(device="cpu"), seed)
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}


def moments(numbers: Tensor) -> tuple[float, float]:
    """Spread, and the kurtosis that tells a normal law (3) from a uniform one (1.8)."""
    numbers = numbers.flatten().double()
    spread = numbers.square().mean().sqrt()
    return spread.item(), (numbers / spread).pow(4).mean().item()


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "backbone": lambda: RegNet.Config(
        size="custom", widths=(192, 384), depths=(1, 1), group_width=96, strides=(2, 2), stem_width=256
    ).build(),
    "head": lambda: ProjectionHead(384, (512, 512), 256),
    "prototypes": lambda: Prototypes(128, 600),
    "classifier": lambda: Classifier(300, 200),
    "convolution": lambda: nn.Conv2d(64, 128, 3, groups=2),
    "linear": lambda: nn.Linear(400, 300),
    "norms": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.LayerNorm(4), nn.GroupNorm(2, 4)),
}


@pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
def test_the_laws_are_those_of_the_constructors(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    expected, found = build().state_dict(), drawn(build)
    assert list(found) == list(expected)
    for name, theirs in expected.items():
        ours = found[name]
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        if theirs.numel() < 2 or theirs.float().std() == 0:
            torch.testing.assert_close(ours, theirs)
            continue
        # Five standard errors of a normal law's moments.
        (spread, kurtosis), reference, unit = moments(ours), moments(theirs), 5 / math.sqrt(ours.numel())
        assert spread == pytest.approx(reference[0], rel=unit), name
        assert kurtosis == pytest.approx(reference[1], rel=2.4 * unit), name
        assert abs(ours.mean()) < unit * spread, name
        if reference[1] < 2.4 - unit:  # uniform, so it has bounds
            assert ours.abs().max() == pytest.approx(theirs.abs().max().item(), rel=3 * unit**2), name


def test_prototypes_start_as_unit_rows_in_every_direction_alike() -> None:
    rows = drawn(lambda: Prototypes(16, 4000))["weight"]
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(4000))
    torch.testing.assert_close(rows.T @ rows / 4000 * 16, torch.eye(16), rtol=0, atol=0.12)


def sharded(rank: int, world: int, meshes: list[tuple[int, ...]]) -> list[dict[str, Tensor]]:
    found = []
    for shape in meshes:
        names = ("replicate", "shard")[-len(shape) :]
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
        with torch.device("meta"):
            network = Network()
        for block in network.backbone.blocks():
            fully_shard(block, mesh=mesh)
        fully_shard(network, mesh=mesh)
        initialise(network.to_empty(device="cpu"), 0)
        assert isinstance(network.prototypes.weight, DTensor)
        whole = {
            name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            for name, tensor in network.state_dict().items()
        }
        found.append({name: tensor.detach() for name, tensor in whole.items()})
    return found


@pytest.mark.parametrize(("world", "meshes"), [(2, [(2,)]), (4, [(4,), (2, 2)])])
def test_every_sharding_starts_from_the_same_weights_to_the_bit(world: int, meshes: list[tuple[int, ...]]) -> None:
    expected = drawn()
    for found in on_processes(sharded, world, meshes):
        for network in found:
            assert list(network) == list(expected)
            for name, tensor in expected.items():
                assert torch.equal(network[name], tensor), name


def placed(rank: int, world: int) -> list[bool]:
    """Whether the rows that a process is said to hold are those that torch gives it."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    line, square = init_device_mesh("cpu", (4,)), init_device_mesh("cpu", (2, 2))
    same = []
    for rows in (1, 3, 5, 8, 9):
        whole = torch.arange(rows * 2.0).view(rows, 2)
        for mesh, placements in (
            (line, [Shard(0)]),
            (line, [Replicate()]),
            (square, [Replicate(), Shard(0)]),
            (square, [Shard(0), Shard(0)]),
            (square, [Shard(0), Replicate()]),
        ):
            parameter = distribute_tensor(whole, mesh, placements)
            mine = held(parameter)
            same.append(torch.equal(parameter.to_local(), whole[mine.start : mine.stop]))
    return same


def test_the_rows_that_a_process_draws_are_those_that_it_holds() -> None:
    assert all(all(same) for same in on_processes(placed, 4))


def test_seeds_parameters_and_blocks_are_independent() -> None:
    def two() -> nn.Module:
        return nn.Sequential(nn.Linear(300, 400), nn.Linear(300, 400))

    first, other = drawn(two), drawn(two, seed=1)
    again = drawn(lambda: nn.ModuleDict({"1": nn.Linear(300, 400)}))
    assert torch.equal(again["1.weight"], first["1.weight"])
    rows = torch.cat([first["0.weight"], first["1.weight"], other["0.weight"], other["1.weight"]]).double()
    correlation = torch.corrcoef(rows) - torch.eye(len(rows), dtype=torch.float64)
    assert correlation.abs().max() < 7 / math.sqrt(300)
    columns = torch.corrcoef(rows.view(4, -1)) - torch.eye(4, dtype=torch.float64)
    assert columns.abs().max() < 5 / math.sqrt(300 * 400)


def test_wrappers_do_not_count_in_a_name() -> None:
    wrapped = "_fsdp_wrapped_module.module.backbone.s1.b2._checkpoint_wrapped_module._orig_mod.f.a.weight"
    assert clean_name(wrapped) == "backbone.s1.b2.f.a.weight"

    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = Network()

    expected = drawn()
    for name, tensor in drawn(Wrapper).items():
        assert torch.equal(tensor, expected[clean_name(name)])


def test_other_precisions_are_the_same_numbers_rounded() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        expected = {name: tensor.to(dtype) for name, tensor in drawn().items() if tensor.is_floating_point()}
        found = drawn(lambda dtype=dtype: Network().to(dtype))  # type: ignore[misc]
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name


class Queue(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(()))
        self.register_buffer("rows", torch.empty(3))
        self.inner = nn.Linear(2, 2)

    def laws(self) -> dict[str, Law]:
        return {"scale": constant(4.0), "inner.bias": constant(1.0)}

    def reset_buffers(self) -> None:
        self.rows.copy_(torch.arange(3))


def test_a_module_states_its_own_laws_and_buffers_and_the_outer_statement_counts() -> None:
    found = drawn(Queue)
    assert found["scale"] == 4
    assert found["rows"].tolist() == [0, 1, 2]
    assert found["inner.bias"].tolist() == [1, 1]
    assert found["inner.weight"].abs().max() > 0


class Silent(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind == "buffer":
            self.register_buffer("rows", torch.empty(3))
        else:
            self.scale = nn.Parameter(torch.empty(3))


@pytest.mark.parametrize(("kind", "sentence"), [("parameter", "how layer.scale starts"), ("buffer", "rows of layer")])
def test_what_nobody_says_how_to_start_is_named(kind: str, sentence: str) -> None:
    with pytest.raises(NotImplementedError, match=sentence):
        initialise(nn.ModuleDict({"layer": Silent(kind)}), 0)


class Misspelt(nn.Linear):
    def laws(self) -> dict[str, Law]:
        return {"weight": normal(1.0), "bias": constant(0.0), "wieght": normal(0.1)}


def test_a_law_of_no_parameter_is_named() -> None:
    with pytest.raises(ValueError, match=r"speaks of layer\.wieght, but there is no such parameter"):
        initialise(nn.ModuleDict({"layer": Misspelt(2, 2)}), 0)


def test_a_shared_parameter_is_drawn_once_and_a_compiled_module_is_drawn_as_the_plain_one() -> None:
    torch.manual_seed(0)
    both = nn.ModuleDict({"first": nn.Linear(3, 3), "second": nn.Linear(3, 3)})
    both["second"].weight = both["first"].weight
    initialise(both, 0)
    assert torch.equal(both["first"].weight, drawn(lambda: nn.ModuleDict({"first": nn.Linear(3, 3)}))["first.weight"])
    network = Network()
    network.backbone = torch.compile(network.backbone, backend="eager")  # type: ignore[assignment]
    initialise(network, 0)
    expected = drawn()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, expected[clean_name(name)]), name


def test_a_network_that_is_still_on_meta_is_refused() -> None:
    with pytest.raises(ValueError, match="call to_empty"):
        initialise(nn.Linear(2, 2, device="meta"), 0)


def test_one_of_496_processes_draws_only_its_share_of_seer_10b(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = 0

    def counting(std: float) -> Law:
        law = normal(std)

        def draw(source: np.random.Generator, shape: tuple[int, ...]) -> Any:
            nonlocal numbers
            numbers += math.prod(shape)
            return law(source, shape)

        return draw

    monkeypatch.setattr("pipeline.models.regnet.normal", counting)
    dist.init_process_group("fake", rank=301, world_size=496, store=FakeStore())
    try:
        mesh = init_device_mesh("cpu", (496,))
        with torch.device("meta"):
            backbone = RegNet.Config(size="seer_10b").build()
        for block in backbone.blocks():
            fully_shard(block, mesh=mesh)
        fully_shard(backbone, mesh=mesh)
        local = [p.to_local() for p in backbone.to_empty(device="cpu").parameters() if isinstance(p, DTensor)]
        share = sum(tensor.numel() for tensor in local)
        initialise(backbone, 0)
        assert 9.3e9 / 496 < share < 1.1 * 9.3e9 / 496
        assert numbers < 1.1 * share
        weights = [p for p in backbone.parameters() if p.ndim == 4]
        assert numbers <= sum(p.to_local().numel() + 2 * (BLOCK + p.shape[1:].numel()) for p in weights)
    finally:
        dist.destroy_process_group()
