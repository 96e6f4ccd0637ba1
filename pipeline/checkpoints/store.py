"""Save, find, verify and restore checkpoints in a run directory.

    checkpoints/
        step-000000500/       one checkpoint: torch.distributed.checkpoint files, a part per process
            manifest.json     step, samples consumed, state of the stream, every file's size and sha256: written last

A save goes to a temporary directory, is flushed, hashed and renamed, so a name that exists is a whole checkpoint.
`latest` gives the newest one whose hashes hold and says which it passed over. Loading never asks how many processes
wrote it.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as read_state
from torch.distributed.checkpoint.state_dict_saver import save as write_state

from pipeline import distributed
from pipeline.artifacts import describe_files, digest, write_atomically
from pipeline.checkpoints.state import OBJECTIVE, State
from pipeline.errors import ArtifactError

FOLDER = "checkpoints"
MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Saved:
    """A checkpoint on disk."""

    path: Path
    step: int
    consumed: int
    """Samples the job had consumed: where the stream goes on."""
    stream: Mapping[str, Any] = field(default_factory=dict)
    """The state of the stream, `Loader.state_dict`: what it must be resumed on."""


def save(
    run: Path, state: State, *, step: int, consumed: int, keep: int, stream: Mapping[str, Any] | None = None
) -> Saved:
    """Write a checkpoint and remove all but the newest `keep`. A collective; raises OSError where the disk is full."""
    folder = run / FOLDER
    final = folder / f"step-{step:09d}"
    temporary = folder / f".step-{step:09d}.tmp"
    first = distributed.is_first()
    if first:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    _barrier()
    try:
        with _alone_is_fine():
            write_state(state, storage_writer=FileSystemWriter(temporary, sync_files=True), no_dist=not _is_job())
    except CheckpointException as error:
        raise _cause(error) from error
    if first:
        names = [path.name for path in temporary.iterdir()]
        facts = {"format": FORMAT, "step": step, "consumed": consumed, "stream": dict(stream or {})}
        facts["files"] = describe_files(temporary, names)
        write_atomically(temporary / MANIFEST, json.dumps({**facts, "hash": digest(facts)}, indent=1))
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        _flush_directory(folder)
        for old in list(_directories(folder))[keep:]:
            shutil.rmtree(old)
    _barrier()
    return Saved(final, step, consumed, stream or {})


def latest(run: Path) -> tuple[Saved | None, list[str]]:
    """The newest checkpoint that verifies, and one sentence for each newer one that does not."""
    passed_over: list[str] = []
    for path in _directories(run / FOLDER):
        faults = verify(path)
        if not faults:
            manifest = json.loads((path / MANIFEST).read_text())
            return Saved(path, manifest["step"], manifest["consumed"], manifest.get("stream", {})), passed_over
        passed_over.append(f"{path.name} is damaged ({faults[0]})")
    return None, passed_over


def verify(path: Path) -> list[str]:
    """What is wrong with a checkpoint: a file missing or changed, a manifest not as written. Empty when it is whole."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        intact = manifest.pop("hash") == digest(manifest)
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        return [f"{MANIFEST} cannot be read: {error}"]
    if not intact:
        return [f"{MANIFEST} has changed"]
    if manifest["format"] != FORMAT:
        return [f"{MANIFEST} has format {manifest['format']}, not {FORMAT}"]
    expected = manifest["files"]
    missing = [f"{name} is missing" for name in expected if not (path / name).is_file()]
    if missing:
        return missing
    found = describe_files(path, expected)
    return [f"{name} has changed" for name in expected if found[name] != expected[name]]


def restore(saved: Saved, state: State) -> None:
    """Fill `state` (as `training_state` gives it) from a checkpoint, whatever the number of processes then and now."""
    with _alone_is_fine():
        read_state(state, storage_reader=FileSystemReader(saved.path), no_dist=not _is_job())


def read_tensors(path: Path, prefix: str) -> dict[str, Tensor]:
    """The objective's tensors whose names begin with `prefix`, whole, with the prefix removed; reads nothing else."""
    reader = FileSystemReader(path)
    start = f"{OBJECTIVE}.{prefix}"
    wanted: dict[str, Any] = {}
    for name, facts in reader.read_metadata().state_dict_metadata.items():
        if name.startswith(start) and isinstance(facts, TensorStorageMetadata):
            wanted[name] = facts.properties.dtype, facts.size
    if not wanted:
        raise ArtifactError(str(path), f"holds no tensor named {start}*", "name a checkpoint that this pipeline wrote")

    tensors = {name: torch.empty(size, dtype=dtype) for name, (dtype, size) in wanted.items()}
    with _alone_is_fine():
        read_state(tensors, storage_reader=reader, no_dist=True)
    return {name.removeprefix(start): tensor for name, tensor in tensors.items()}


def _directories(folder: Path) -> Iterator[Path]:
    """Finished checkpoints, newest first."""
    if folder.is_dir():
        yield from sorted((path for path in folder.iterdir() if path.name.startswith("step-")), reverse=True)


def _cause(error: CheckpointException) -> BaseException:
    """The disk's own error behind a failed save, or the whole report.

    torch's zip writer hides it in the context of its own; errors of other processes arrive without one.
    """
    for fault, _ in error.failures.values():
        link: BaseException | None = fault
        while link is not None:
            if isinstance(link, OSError):
                return link
            link = link.__cause__ or link.__context__
    return error


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_job() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def _alone_is_fine() -> Iterator[None]:
    """Without a process group torch warns that it saves and loads in this process alone, which is what is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")
        yield


def _barrier() -> None:
    if _is_job():
        dist.barrier()
