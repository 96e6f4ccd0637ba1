"""Tensors written while they are read make the checkpoint that a save of them all at once makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.checkpoints import tensorwise
from pipeline.checkpoints.manifest import FOLDER
from pipeline.checkpoints.store import content, latest, read_tensors
from pipeline.checkpoints.tensors import root_hash
from pipeline.checkpoints.tensorwise import Stored, save_tensors
from pipeline.checkpoints.verify import verify
from pipeline.errors import ArtifactError


def some() -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "a.weight": torch.randn(37, 5, 3, generator=draw),
        "b.count": torch.tensor(7),
        "c.odd": torch.arange(5, dtype=torch.uint8),
        "d.none": torch.empty(0, 3),
        "e.turned": torch.randn(6, 4, generator=draw).t(),
    }


@pytest.mark.parametrize("at_once", [1, 100, 1 << 20])
def test_it_is_the_checkpoint_of_the_same_tensors_however_it_is_cut(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = some()
    monkeypatch.setattr(tensorwise.Stored.rows, "__defaults__", (at_once,))
    saved = save_tensors(tmp_path, {name: Stored.of(tensor) for name, tensor in tensors.items()}, config="x: 1\n")
    assert content(saved.path) == root_hash(tensors)
    assert verify(saved.path, deep=True) == []
    read = read_tensors(saved.path, "")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert latest(tmp_path)[0] == saved
    assert saved.config == "x: 1\n"


def test_its_file_opens_in_the_safetensors_library(tmp_path: Path) -> None:
    saved = save_tensors(tmp_path, {name: Stored.of(tensor) for name, tensor in some().items()})
    theirs = load_file(next(saved.path.glob("*.safetensors")))
    assert all(torch.equal(theirs[f"objective.{name}"], tensor) for name, tensor in some().items())


def test_a_tensor_becomes_the_type_that_is_asked_for(tmp_path: Path) -> None:
    half = torch.randn(8, 2).half()
    saved = save_tensors(tmp_path, {"x": Stored((8, 2), torch.float32, lambda: half)})
    assert torch.equal(read_tensors(saved.path, "")["x"], half.float())


def test_what_cannot_be_read_leaves_nothing_behind(tmp_path: Path) -> None:
    def gone() -> Tensor:
        raise ArtifactError("x.torch", "is missing", "fetch it")

    good = Stored.of(torch.ones(3))
    with pytest.raises(ArtifactError, match="is missing"):
        save_tensors(tmp_path, {"a": good, "b": Stored((2,), torch.float32, gone)})
    assert list((tmp_path / FOLDER).iterdir()) == []
