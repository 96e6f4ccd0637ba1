"""VISSL's checkpoints in every form that it writes hold the same tensors.

The sharded ones come from fairscale's FSDP on two processes.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.errors import ArtifactError
from pipeline.released import readers
from pipeline.released.readers import fairscale_shards
from tests.distributed import on_processes
from tests.pipeline.released.readers import vissl_files

TRUNK = {"_feature_blocks.a.weight": torch.randn(3, 2), "_feature_blocks.b.running_mean": torch.randn(3)}
HEADS = {"0.clf.0.weight": torch.randn(5, 3), "0.clf.0.bias": torch.randn(5)}
NAMES = {f"trunk.{name}": t for name, t in TRUNK.items()} | {f"heads.{name}": t for name, t in HEADS.items()}


def same(held: readers.Held, tensors: dict[str, Tensor]) -> bool:
    return held.tensors.keys() == tensors.keys() and all(
        torch.equal(held.tensors[name].read(), tensor) and held.shapes[name] == tuple(tensor.shape)
        for name, tensor in tensors.items()
    )


@pytest.mark.parametrize("kind", ["consolidated", None])
def test_a_consolidated_file_with_or_without_its_type(kind: str | None, tmp_path: Path) -> None:
    assert same(readers.read(vissl_files.consolidated(tmp_path / "m.torch", TRUNK, HEADS, kind)), NAMES)


def test_heads_of_fsdp_are_a_list(tmp_path: Path) -> None:
    heads = [{name.removeprefix("0."): tensor for name, tensor in HEADS.items()}]
    assert same(readers.read(vissl_files.consolidated(tmp_path / "m.torch", TRUNK, heads)), NAMES)


def test_slices_are_found_although_their_list_has_the_paths_of_another_machine(tmp_path: Path) -> None:
    assert same(readers.read(vissl_files.sliced(tmp_path / "m.torch", TRUNK, HEADS)), NAMES)


def test_the_older_list_of_slices_has_the_trunk_alone(tmp_path: Path) -> None:
    held = readers.read(vissl_files.sliced(tmp_path / "m.torch", TRUNK, HEADS, nested=False))
    assert same(held, {f"trunk.{name}": tensor for name, tensor in TRUNK.items()})


def test_a_missing_slice_is_named(tmp_path: Path) -> None:
    path = vissl_files.sliced(tmp_path / "m.torch", TRUNK, HEADS)
    sorted((tmp_path / "m_layers").iterdir())[0].unlink()
    with pytest.raises(ArtifactError, match=r"m_layers/\w+.torch: is missing; m.torch lists 4 files"):
        readers.read(path)


def test_a_slice_alone_and_a_shard_alone_point_to_their_list(tmp_path: Path) -> None:
    vissl_files.sliced(tmp_path / "m.torch", TRUNK, HEADS)
    with pytest.raises(ArtifactError, match="is one slice of a checkpoint that lies in several files"):
        readers.read(next((tmp_path / "m_layers").iterdir()))
    vissl_files.sharded(tmp_path / "s.torch", [(TRUNK, {}, HEADS, {})])
    with pytest.raises(ArtifactError, match=r"name the list beside it, s.torch"):
        readers.read(tmp_path / "s_shard0.torch")


def test_a_list_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    torch.save({"weight": torch.ones(1)}, tmp_path / "secret.torch")
    torch.save({"type": "slice_list", "layers": {"x": "../secret.torch"}}, tmp_path / "in" / "m.torch")
    with pytest.raises(ArtifactError, match="is missing"):
        readers.read(tmp_path / "in" / "m.torch")


def test_a_file_without_a_trunk_says_so(tmp_path: Path) -> None:
    torch.save({"classy_state_dict": {"base_model": {}}}, tmp_path / "m.torch")
    with pytest.raises(ArtifactError, match="has no trunk below classy_state_dict"):
        readers.read(tmp_path / "m.torch")


def damaged(folder: Path, how: str) -> Path:
    """A checkpoint of VISSL in which something is of another kind than it writes."""
    path = folder / "m.torch"
    if how == "a slice":
        vissl_files.sliced(path, TRUNK, HEADS)
        torch.save(torch.ones(3), next((folder / "m_layers").iterdir()))
    elif how == "meta without heads":
        vissl_files.sharded(path, [(TRUNK, {}, HEADS, {})])
        shard = torch.load(folder / "m_shard0.torch", weights_only=False)
        shard["classy_state_dict"]["base_model"]["meta"]["heads"] = []
        torch.save(shard, folder / "m_shard0.torch")
    elif how == "more meta than heads":
        vissl_files.sharded(path, [(TRUNK, {}, HEADS, {})])
        shard = torch.load(folder / "m_shard0.torch", weights_only=False)
        shard["classy_state_dict"]["base_model"]["model"]["heads"] = []
        torch.save(shard, folder / "m_shard0.torch")
    else:
        torch.save(BROKEN[how], path)
    return path


BROKEN: dict[str, Any] = {
    "no trunk": {"type": "slice_list", **vissl_files.around(None, {}, None)},
    "heads are a tensor": {"type": "slice_list", **vissl_files.around({}, torch.ones(2), None)},
    "heads are a list": {"type": "slice_list", **vissl_files.around({}, ["x"], None)},
    "a number of shards": {"type": "shard_list", "shards": 3},
    "a state of numbers": {"classy_state_dict": 3},
}


@pytest.mark.parametrize("how", [*BROKEN, "a slice", "meta without heads", "more meta than heads"])
def test_what_vissl_would_not_write_is_one_sentence(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairscale_shards, "joined", lambda *_: {})  # only what stands before it is asked about
    with pytest.raises(ArtifactError, match=r"is of VISSL, but|holds no tensor, but m\.torch has (trunk|heads)"):
        readers.read(damaged(tmp_path, how))


def trunk() -> nn.Module:
    """Blocks with BatchNorm, under VISSL's names."""
    torch.manual_seed(0)
    blocks = {
        name: nn.Sequential(nn.Conv2d(3, 5, 1, bias=False), nn.BatchNorm2d(5), nn.Conv2d(5, 3, 1))
        for name in ("block1-0", "block1-1")
    }
    return nn.ModuleDict({"_feature_blocks": nn.ModuleDict(blocks)})


def head() -> nn.Module:
    torch.manual_seed(1)
    return nn.ModuleDict({"clf": nn.Sequential(nn.Linear(3, 7))})


def shards(rank: int, world: int, flatten: bool) -> tuple[Any, Any, Any, Any]:
    """What one process would save: its tensors and fairscale's notes on them, of trunk and head."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fairscale.nn import FullyShardedDataParallel

        def wrapped(module: nn.Module, **options: Any) -> Any:
            return FullyShardedDataParallel(module, flatten_parameters=flatten, **options)

        group = dist.new_group()
        options = {"process_group": group, "process_group_reduce_scatter": group, "compute_device": torch.device("cpu")}
        blocks = trunk()
        inner = blocks["_feature_blocks"]
        for name, block in list(inner.items()):  # type: ignore[operator]
            block[1] = wrapped(block[1], **options)
            inner[name] = wrapped(block, **options)
        whole, top = wrapped(blocks, **options), wrapped(head(), **options)
        found = [
            {name: tensor.clone() for name, tensor in whole.local_state_dict().items()},
            whole.local_metadata_dict(),
            {name: tensor.clone() for name, tensor in top.local_state_dict().items()},
            top.local_metadata_dict(),
        ]
    with tempfile.NamedTemporaryFile(delete=False) as file:
        torch.save(found, file)
    return file.name  # type: ignore[return-value]


@pytest.mark.slow
@pytest.mark.parametrize("flatten", [True, False])
def test_shards_of_fairscale_are_joined_to_what_the_network_had(flatten: bool, tmp_path: Path) -> None:
    files = on_processes(shards, 2, flatten)
    each = [torch.load(file, weights_only=True) for file in files]
    for file in files:
        os.unlink(file)  # type: ignore[arg-type]
    path = vissl_files.sharded(tmp_path / "model_iteration5.torch", each)
    whole = {f"trunk.{name}": t for name, t in trunk().state_dict().items()}
    whole |= {f"heads.0.{name}": t for name, t in head().state_dict().items()}
    assert any(tensor.numel() % 2 for tensor in whole.values()), "some were padded"
    assert same(readers.read(path), whole)
    (tmp_path / "model_iteration5_shard1.torch").unlink()
    with pytest.raises(ArtifactError, match=r"shard1.torch: is missing; model_iteration5.torch lists 2 files"):
        readers.read(path)
