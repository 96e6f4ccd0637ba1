"""Tensors are read into any sharding, by prefix, and a file that does not fit is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from pipeline.checkpoints.store import content, read_into, read_tensors, restore, save
from pipeline.checkpoints.tensors import root_hash
from pipeline.errors import ArtifactError
from tests.distributed import on_processes
from tests.pipeline.checkpoints.trainings import network, state_of, trained


class Classifier(nn.Module):
    """The network as the backbone of another training."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = network(seed=5)
        self.head = nn.Linear(1, 2)


def read_backbone(rank: int, world: int, path: Path) -> str:
    model = Classifier()
    head = model.head.weight.detach().clone()
    fully_shard(model, mesh=init_device_mesh("cpu", (world,)))
    read_into(path, get_model_state_dict(model.backbone))
    found = {
        name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        for name, tensor in get_model_state_dict(model).items()
    }
    assert torch.equal(found["head.weight"], head), "the rest is left alone"
    return root_hash({k.removeprefix("backbone."): v for k, v in found.items() if k.startswith("backbone.")})


def test_a_backbone_is_read_into_the_shards_of_another_training(tmp_path: Path) -> None:
    training = trained()
    saved = save(tmp_path, state_of(training), step=3, consumed=48, keep=2)
    assert set(on_processes(read_backbone, 2, saved.path)) == {root_hash(training[0].state_dict())}


def test_part_of_it_is_read_by_prefix(tmp_path: Path) -> None:
    training = trained()
    saved = save(tmp_path, state_of(training), step=3, consumed=48, keep=2)
    layer = nn.Linear(4, 10)
    read_into(saved.path, layer.state_dict(), "0.")
    assert root_hash(layer.state_dict()) == root_hash(training[0][0].state_dict())
    assert content(saved.path) == root_hash(training[0].state_dict())


def test_another_network_is_a_sentence(tmp_path: Path) -> None:
    saved = save(tmp_path, state_of(trained()), step=3, consumed=48, keep=2)
    for state, says in (
        ({"objective": {"other": torch.zeros(2)}}, "does not fit this training: .*objective.other"),
        ({"objective": {"0.weight": torch.zeros(2, 2)}}, "does not fit this training: .*[Ss]ize mismatch"),
    ):
        with pytest.raises(ArtifactError, match=says):
            restore(saved, state)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_tensors(tmp_path / "nowhere", "")
    (saved.path / "part-00000-of-00001.safetensors").write_bytes(b"short")
    with pytest.raises(ArtifactError, match="ends too early"):
        read_tensors(saved.path, "")


def test_types_and_shapes_of_all_kinds_come_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        "odd": torch.randn(3, dtype=torch.float32),
        "double": torch.randn(5, 3, dtype=torch.float64),
        "half": torch.randn(7, 3).bfloat16(),
        "flags": torch.rand(11) > 0.5,
        "count": torch.tensor(7),
        "bytes": torch.arange(13, dtype=torch.uint8),
        "none": torch.zeros(0, 4),
        "turned": torch.randn(4, 6).t(),
        "images": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    }
    values = {"betas": (0.9, 0.999), "names": ["a", "b"], "nothing": None, "map": {"a": (1, [2.5])}, "on": True}
    saved = save(tmp_path, {"objective": tensors, "optimizer": values}, step=1, consumed=1, keep=1)
    empty = {name: torch.full_like(tensor, 1) for name, tensor in tensors.items()}
    into = {"objective": empty, "optimizer": {"betas": 0, "names": 0, "nothing": 0, "map": {"a": 0}, "on": 0}}
    restore(saved, into)
    for name, tensor in tensors.items():
        assert torch.equal(empty[name], tensor), name
    assert into["optimizer"] == values
    opened = load_file(saved.path / "part-00000-of-00001.safetensors")
    assert all(torch.equal(opened[f"objective.{name}"], tensor) for name, tensor in tensors.items())


def test_a_value_that_would_need_a_pickle_is_refused_when_it_is_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"optimizer\.what is a object, which a checkpoint cannot hold"):
        save(tmp_path, {"objective": {}, "optimizer": {"what": object()}}, step=1, consumed=1, keep=1)
