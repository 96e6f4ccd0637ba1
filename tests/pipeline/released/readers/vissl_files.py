"""Checkpoints as VISSL writes them (`vissl/utils/checkpoint.py`), around any trunk and head."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

State = Mapping[str, Tensor]


def around(trunk: Any, heads: Any, kind: str | None = "consolidated", meta: Any = None) -> dict[str, Any]:
    """The state of a training, with what stands beside its weights."""
    base = {"model": {"trunk": trunk, "heads": heads}, **({} if meta is None else {"meta": meta})}
    state = {
        "train": True,
        "base_model": base,
        "meters": [],
        "optimizer": {"optim": {"state": {}, "param_groups": [{"lr": np.float64(0.3)}]}},
        "phase_idx": 0,
        "losses": [np.float32(5.5), 5.25],
        "loss": {"num_iteration": torch.tensor(3)},
    }
    outer = {"phase_idx": 0, "iteration": 5, "loss": {}, "iteration_num": 5, "classy_state_dict": state}
    return outer if kind is None else {**outer, "type": kind}


def consolidated(path: Path, trunk: State, heads: State | Sequence[State], kind: str | None = "consolidated") -> Path:
    """Everything in one file; `kind` None as before types were written."""
    torch.save(around(dict(trunk), heads if isinstance(heads, Sequence) else dict(heads), kind), path)
    return path


def sliced(path: Path, trunk: State, heads: State, *, nested: bool = True) -> Path:
    """A file for each tensor, listed by the absolute path that it had on another machine."""
    folder = path.parent / f"{path.stem}_layers"
    folder.mkdir()

    def placed(tensors: State) -> dict[str, str]:
        listed = {}
        for name, tensor in tensors.items():
            file = f"{hashlib.sha1(name.encode()).hexdigest()}.torch"
            torch.save({"type": "slice", "weight": tensor}, folder / file)
            listed[name] = f"/checkpoint/somebody/{folder.name}/{file}"
        return listed

    listed = placed(trunk)
    if nested:
        model = {"trunk": listed, "heads": placed(heads)}
        torch.save({"type": "slice_list", "classy_state_dict": {"base_model": {"model": model}}}, path)
    else:
        torch.save({"type": "slice_list", "layers": listed}, path)
    return path


def sharded(path: Path, shards: Sequence[tuple[State, Any, State, Any]]) -> Path:
    """A file for each process: its tensors and FSDP's notes of the trunk, then those of one head."""
    names = [f"{path.stem}_shard{rank}.torch" for rank in range(len(shards))]
    for name, (trunk, trunk_meta, head, head_meta) in zip(names, shards, strict=True):
        meta = {"trunk": trunk_meta, "heads": [head_meta]}
        torch.save(around(dict(trunk), [dict(head)], "shard", meta), path.parent / name)
    torch.save({"type": "shard_list", "shards": names}, path)
    return path
