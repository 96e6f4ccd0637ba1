"""Safetensors, alone or in parts that an index lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import ArtifactError
from pipeline.released import readers

WEIGHTS = {"regnet.x": torch.arange(6.0).view(2, 3), "regnet.n": torch.tensor(3), "half": torch.ones(4).bfloat16()}


def parts(folder: Path, **files: dict[str, Tensor]) -> Path:
    """An index and its files, as transformers writes them."""
    for name, tensors in files.items():
        save_file(tensors, folder / f"{name}.safetensors", metadata={"format": "pt"})
    listed = {tensor: f"{name}.safetensors" for name, tensors in files.items() for tensor in tensors}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": listed}))
    return index


def test_a_file_says_names_shapes_types_and_metadata(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "m.safetensors", metadata={"format": "pt"})
    held = readers.read(tmp_path / "m.safetensors")
    assert held.shapes == {"regnet.x": (2, 3), "regnet.n": (), "half": (4,)}
    assert held.says == {"format": "pt"}
    assert all(torch.equal(held.tensors[name].read(), tensor) for name, tensor in WEIGHTS.items())
    assert all(held.tensors[name].dtype == tensor.dtype for name, tensor in WEIGHTS.items())


def test_parts_are_read_as_one(tmp_path: Path) -> None:
    one, other = {"regnet.x": WEIGHTS["regnet.x"]}, {"regnet.n": WEIGHTS["regnet.n"], "half": WEIGHTS["half"]}
    held = readers.read(parts(tmp_path, first=one, second=other))
    assert held.kind == "safetensors in 2 files"
    assert held.tensors.keys() == WEIGHTS.keys()
    assert all(torch.equal(held.tensors[name].read(), tensor) for name, tensor in WEIGHTS.items())


def test_a_missing_part_and_one_that_lies_elsewhere(tmp_path: Path) -> None:
    index = parts(tmp_path, first={"x": torch.ones(1)}, second={"y": torch.ones(1)})
    (tmp_path / "second.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"second.safetensors: is missing; .* lists 2 files"):
        readers.read(index)
    index.write_text(json.dumps({"weight_map": {"x": "../../secret.safetensors"}}))
    with pytest.raises(ArtifactError, match="which lies elsewhere"):
        readers.read(index)


def test_a_file_without_tensors_is_read_as_that(tmp_path: Path) -> None:
    save_file({}, tmp_path / "m.safetensors")
    assert readers.read(tmp_path / "m.safetensors").tensors == {}


def test_a_list_of_nothing_or_of_itself_is_refused(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {}}))
    with pytest.raises(ArtifactError, match=r"index.json: lists no weights"):
        readers.read(index)
    index.write_text(json.dumps({"weight_map": {"x": index.name}}))
    with pytest.raises(ArtifactError, match="which is a list itself"):
        readers.read(index)


def test_a_tensor_in_two_parts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds x, which another part holds too"):
        readers.read(parts(tmp_path, first={"x": torch.ones(1), "a": torch.ones(1)}, second={"x": torch.ones(1)}))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_a_file_cut_anywhere_says_so(share: float, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"x": torch.randn(1000)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: max(9, int(len(content) * share))])
    with pytest.raises(ArtifactError, match="is cut off or damaged"):
        readers.read(path)


def test_a_damaged_head_says_so(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"x": torch.randn(10)}, path)
    content = bytearray(path.read_bytes())
    content[10:14] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="is cut off or damaged"):
        readers.read(path)
