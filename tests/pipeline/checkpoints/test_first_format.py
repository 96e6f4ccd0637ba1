"""Checkpoints of the first format are still read, and none of their pickles can run anything."""

from __future__ import annotations

import json
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save as torch_save

from pipeline.artifacts import describe_files, digest
from pipeline.checkpoints.first_format import ALLOWED
from pipeline.checkpoints.store import content, latest, read_tensors, restore
from pipeline.checkpoints.tensors import root_hash
from pipeline.errors import ArtifactError
from tests.pipeline.checkpoints.trainings import state_of, trained, whole


class Hostile:
    """Makes a file when it is unpickled by one who does not look."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def seal(path: Path) -> None:
    """The manifest that the first version wrote last."""
    facts: dict[str, Any] = {"format": 1, "step": 3, "consumed": 48, "stream": {}}
    facts["files"] = describe_files(path, [p.name for p in path.iterdir() if p.name != "manifest.json"])
    (path / "manifest.json").write_text(json.dumps({**facts, "hash": digest(facts)}, indent=1))


def written(run: Path, state: Any) -> Path:
    path = run / "checkpoints" / "step-000000003"
    path.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch_save(state, storage_writer=FileSystemWriter(path), no_dist=True)
    seal(path)
    return path


def test_what_the_first_version_saved_is_restored(tmp_path: Path) -> None:
    state = state_of(trained())
    path = written(tmp_path, state)
    found, passed_over = latest(tmp_path)
    assert found is not None
    assert (found.step, found.consumed, found.format, passed_over) == (3, 48, 1, [])
    fresh = state_of(trained(1, seed=1))
    fresh["optimizer"]["param_groups"][0]["lr"] = 9.0
    restore(found, fresh)
    assert root_hash(whole(fresh)) == root_hash(whole(state))
    assert fresh["optimizer"]["param_groups"][0]["lr"] == 0.1
    assert content(path) == root_hash(state["objective"]) == root_hash(read_tensors(path, ""))


def test_a_metadata_file_that_runs_code_is_refused(tmp_path: Path) -> None:
    path, touched = written(tmp_path, state_of(trained())), tmp_path / "touched"
    (path / ".metadata").write_bytes(pickle.dumps(Hostile(touched)))
    seal(path)  # whoever changes a file can write its hash
    found, passed_over = latest(tmp_path)
    assert found is not None
    assert passed_over == []
    for read in (lambda: restore(found, state_of(trained())), lambda: read_tensors(path, "")):
        with pytest.raises(ArtifactError, match=r"\.metadata: is refused: it would run posix\.mkdir"):
            read()
    assert not touched.exists()
    pickle.loads((path / ".metadata").read_bytes())
    assert touched.exists(), "the file is as hostile as it is meant to be"


def test_a_value_that_runs_code_is_refused(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    state = state_of(trained())
    state["optimizer"]["param_groups"][0]["lr"] = Hostile(touched)
    path = written(tmp_path, state)
    assert path.is_dir()
    found, _ = latest(tmp_path)
    assert found is not None
    with pytest.raises(ArtifactError, match=r"optimizer\.param_groups\.0\.lr: is refused"):
        restore(found, state_of(trained()))
    assert not touched.exists()


def test_a_metadata_file_that_points_elsewhere_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, state_of(trained()))
    metadata = pickle.loads((path / ".metadata").read_bytes())
    for facts in metadata.storage_data.values():
        facts.relative_path = "../../secret"
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(ArtifactError, match="which lies elsewhere"):
        read_tensors(path, "")


def test_nothing_that_a_metadata_file_may_name_runs_anything_of_ours_or_the_systems() -> None:
    modules = {module for module, _ in ALLOWED}
    assert modules == {
        "torch",
        "torch.serialization",
        "torch.distributed.checkpoint.metadata",
        "torch.distributed.checkpoint.filesystem",
        "pathlib",
    }
    assert ("torch", "load") not in ALLOWED
    assert not isinstance(torch.load, torch.dtype)
