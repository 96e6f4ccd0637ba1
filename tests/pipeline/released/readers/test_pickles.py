"""A pickle gives tensors and plain values, and nothing in it is run."""

from __future__ import annotations

import argparse
import builtins
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import ArtifactError
from pipeline.released import readers
from pipeline.released.readers.kinds import kind_of
from pipeline.released.readers.pickles import load

FORMATS = [True, False]
"""torch.save's zip, and its pickle before 1.6."""


class Hostile:
    """Runs `function(*arguments)` when it is unpickled by Python."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Unknown:
    """A class of a project that is not installed here."""


def save(path: Path, value: Any, new: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return path


@pytest.mark.parametrize("new", FORMATS)
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, "posix.system"), (builtins.eval, "eval"), (builtins.getattr, "getattr"), (os.makedirs, "os.makedirs")],
)
def test_a_pickle_with_code_in_it_is_refused_and_not_run(
    function: Callable[..., Any], named: str, new: bool, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    command = f"touch {mark}" if function is os.system else str(mark)
    path = save(tmp_path / "m.pth", {"state_dict": {"x": torch.ones(2)}, "extra": Hostile(function, command)}, new)
    with pytest.raises(ArtifactError, match=rf"is refused: it would run [\w.]*{named}") as refused:
        readers.read(path)
    assert "save its state_dict alone" in str(refused.value)
    assert "Re-running" not in str(refused.value), "torch's advice to load it without protection is not passed on"
    assert not mark.exists()


@pytest.mark.parametrize("new", FORMATS)
def test_a_class_of_another_project_is_named(new: bool, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is refused: it would run [\w.]+Unknown"):
        readers.read(save(tmp_path / "m.pth", {"state_dict": {"x": torch.ones(2)}, "config": Unknown()}, new))


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is refused: it would run torch.nn.modules.linear.Linear"):
        readers.read(save(tmp_path / "m.pth", nn.Linear(2, 2)))


def test_a_pickle_that_torch_did_not_write_is_refused(tmp_path: Path) -> None:
    for value in ({"x": 1}, {"x": Hostile(os.system, "false")}):
        (tmp_path / "m.pkl").write_bytes(pickle.dumps(value))
        with pytest.raises(ArtifactError, match=r"is a pickle that torch.save did not write|is refused|cut off"):
            readers.read(tmp_path / "m.pkl")


@pytest.mark.parametrize("new", FORMATS)
def test_plain_values_that_training_states_hold_are_read(new: bool, tmp_path: Path) -> None:
    state = {
        "epoch": 3,
        "best": np.float64(0.5),
        "seen": np.int64(7),
        "history": np.arange(3.0),
        "args": argparse.Namespace(rate=0.1),
        "state_dict": {"x": torch.arange(4.0), "h": torch.ones(2, dtype=torch.float16)},
    }
    path = save(tmp_path / "m.pth", state, new)
    assert load(path, kind_of(path))["best"] == 0.5
    held = readers.read(path)
    assert torch.equal(held.tensors["x"].read(), torch.arange(4.0))
    assert held.shapes == {"x": (4,), "h": (2,)}


@pytest.mark.parametrize("new", FORMATS)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.98, 0.9999])
def test_a_file_cut_anywhere_says_so(share: float, new: bool, tmp_path: Path) -> None:
    path = save(tmp_path / "m.pth", {"x": torch.randn(10_000)}, new)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtifactError, match=r"is cut off or damaged: [\d,]+ bytes"):
        readers.read(path)


def test_a_tensor_that_claims_more_values_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    huge = torch.as_strided(torch.zeros(1), (10**6, 10**6), (0, 0))
    with pytest.raises(ArtifactError, match=r"is refused: x claims 1000000×1000000 values"):
        readers.read(save(tmp_path / "m.pth", {"x": huge}))


def test_a_tensor_that_is_not_plain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds x as no plain tensor"):
        readers.read(save(tmp_path / "m.pth", {"x": torch.eye(3).to_sparse()}))


def test_tensors_of_a_zip_are_mapped_and_not_read(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pth", {"x": torch.zeros(4_000_000)})
    held = readers.read(path)
    storage = held.tensors["x"].read().untyped_storage()
    assert storage.nbytes() >= 16_000_000
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(path) in maps.read_text()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "holds no weights below anything"),
        ({"epoch": 3, "optimizer": {}}, "holds no weights below epoch, optimizer"),
        (torch.ones(3), "holds one tensor without a name"),
        ([torch.ones(3)], "holds a list"),
    ],
)
def test_a_pickle_without_weights_says_what_it_holds(value: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=says):
        readers.read(save(tmp_path / "m.pth", value))


def test_the_weights_are_found_in_a_training_state_of_any_library(tmp_path: Path) -> None:
    x, other = torch.ones(2), torch.zeros(2)
    wrapped = [
        {"x": x},
        {"module.x": x},
        {"state_dict": {"module.x": x}, "optimizer": {"state": {}}},
        {"state_dict": {"model._orig_mod.x": x}},
        {"model": {"x": x}, "args": argparse.Namespace()},
        {"epoch": 1, "model_state": {"x": x}, "ema_state": {"x": other}, "cfg": "…"},
        {"state_dict": {"x": other}, "state_dict_ema": {"x": x}},
    ]
    held = [readers.read(save(tmp_path / f"{n}.pth", value)) for n, value in enumerate(wrapped)]
    assert all(torch.equal(found.tensors["x"].read(), x) for found in held)
    assert [found.bgr for found in held] == [False] * 5 + [True, False]
    assert held[-1].notes == ("took state_dict_ema and not state_dict, the average over training",)
