"""Plain safetensors files: readable to others, and there completely or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from pipeline.checkpoints.plain import save_plain


def test_a_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    save_plain({"a": torch.arange(3.0)}, tmp_path / "a.safetensors", {"format": "pt"})
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert load_file(tmp_path / "a.safetensors")["a"].tolist() == [0, 1, 2]
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_what_cannot_be_written_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_plain({"a": torch.zeros(1)}, path)
    shared = torch.zeros(2)
    with pytest.raises(RuntimeError):
        save_plain({"a": shared, "b": shared}, path)
    assert load_file(path)["a"].tolist() == [0]
    assert [found.name for found in tmp_path.iterdir()] == ["a.safetensors"]
