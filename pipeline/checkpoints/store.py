"""Save, find and restore checkpoints in a run directory; manifest.py shows what lies there.

A name that exists is a whole checkpoint. `latest` gives the newest one whose hashes hold and says which it passed over.
Loading never asks how many processes wrote it, and runs nothing that a file holds.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as read_state
from torch.distributed.checkpoint.storage import StorageReader

from pipeline.checkpoints import generators
from pipeline.checkpoints.commit import Position
from pipeline.checkpoints.first_format import FirstFormat, SafePlanner
from pipeline.checkpoints.head import read_metadata
from pipeline.checkpoints.job import Job
from pipeline.checkpoints.manifest import FIRST_FORMAT, FOLDER, DamageError, Saved, directories, read_manifest
from pipeline.checkpoints.part import part_name
from pipeline.checkpoints.reader import Reader
from pipeline.checkpoints.retention import Retention
from pipeline.checkpoints.saver import Saver
from pipeline.checkpoints.state import OBJECTIVE, State
from pipeline.checkpoints.tensors import root_hash
from pipeline.checkpoints.verify import faults_of, root_of, verify
from pipeline.errors import ArtifactError

__all__ = [
    "FOLDER",
    "Position",
    "Retention",
    "Saved",
    "Saver",
    "content",
    "latest",
    "read_into",
    "read_tensors",
    "restore",
    "save",
    "verify",
]


def save(
    run: Path, state: State, *, step: int, consumed: int, keep: int, stream: Mapping[str, Any] | None = None
) -> Saved:
    """Write one checkpoint here and now, and keep the newest `keep`. A collective; `Saver` does it in the background.

    Raises `RunError` where the disk does not take it.
    """
    saver = Saver(run, Retention(last=keep))
    try:
        saver.save(state, Position(step=step, consumed=consumed, stream=stream or {}), wait=True)
    finally:
        saver.close()
    assert saver.newest is not None
    return saver.newest


def latest(run: Path) -> tuple[Saved | None, list[str]]:
    """The newest checkpoint that verifies, and one sentence for each newer one that does not.

    In a job whose process group stands it is a collective: the processes share the files, and all learn the result.
    """
    job = Job()
    try:
        passed_over: list[str] = []
        for path in job.tell(directories(run / FOLDER) if job.is_first else []):
            faults = _verified_together(path, job)
            if not faults:
                return Saved.load(path), passed_over
            passed_over.append(f"{path.name} is damaged ({faults[0]})")
        return None, passed_over
    finally:
        job.close()


def _verified_together(path: Path, job: Job) -> list[str]:
    """`verify`, each process looking at its share of the files."""
    if job.world == 1:
        return verify(path)
    try:
        files = read_manifest(path)["files"]
        faults = faults_of(path, files, sorted(files)[job.rank :: job.world])
    except DamageError as error:
        faults = [str(error)]
    return job.tell([fault for found in job.gather(faults) for fault in found])


def restore(saved: Saved, state: State) -> None:
    """Fill `state` (as `training_state` gives it) from a checkpoint, whatever the number of processes then and now.

    Random generators go on as they stood; on another number of processes see generators.py. Raises `ArtifactError`
    where names or shapes differ, or a file would run code.
    """
    _read(saved.path, state, reader_of(saved.path), alone=not _is_job())
    if not saved.processes:
        return
    rank, world = (dist.get_rank(), dist.get_world_size()) if _is_job() else (0, 1)
    if world == saved.processes:
        generators.set_states(read_metadata(saved.path / part_name(rank, world))["generators"])
    else:
        generators.seed_from(saved.root, rank)


def read_into(path: Path, state: Mapping[str, Any], prefix: str = "", *, kind: str = OBJECTIVE) -> None:
    """Fill tensors, sharded or whole, with those of the objective whose names begin with `prefix`, in place.

    `state` has them without the prefix, as `get_model_state_dict(backbone)` gives them for prefix "backbone.". Each
    process reads only its rows. A collective. With `kind` "average" they are those of the objective's average. Raises
    `ArtifactError` where names or shapes differ.
    """
    _read(
        path,
        {f"{kind}.{prefix}{name}": tensor for name, tensor in state.items()},
        reader_of(path),
        alone=not _is_job(),
    )


def read_tensors(path: Path, prefix: str) -> dict[str, Tensor]:
    """The objective's tensors whose names begin with `prefix`, whole, with the prefix removed; reads nothing else."""
    start = f"{OBJECTIVE}.{prefix}"
    reader = reader_of(path)
    wanted = {
        name: torch.empty(facts.size, dtype=facts.properties.dtype)
        for name, facts in reader.read_metadata().state_dict_metadata.items()
        if name.startswith(start) and isinstance(facts, TensorStorageMetadata)
    }
    if not wanted:
        raise ArtifactError(str(path), f"holds no tensor named {start}*", "name a checkpoint that this pipeline wrote")
    _read(path, wanted, reader, alone=True)
    return {name.removeprefix(start): tensor for name, tensor in wanted.items()}


def read_whole(path: Path, reader: StorageReader, name: str) -> Tensor:
    """One tensor of a checkpoint, by its full name, whole, on the CPU."""
    facts = reader.read_metadata().state_dict_metadata[name]
    assert isinstance(facts, TensorStorageMetadata)
    tensor = torch.empty(facts.size, dtype=facts.properties.dtype)
    _read(path, {name: tensor}, reader, alone=True)
    return tensor


def content(path: Path) -> str:
    """`root_hash` over the objective's tensors, without reading them where the checkpoint says it."""
    reader = reader_of(path)
    return root_of(reader.index, f"{OBJECTIVE}.") if isinstance(reader, Reader) else root_hash(read_tensors(path, ""))


def reader_of(path: Path) -> StorageReader:
    """What reads a checkpoint. Raises `ArtifactError` for what is none."""
    try:
        return FirstFormat(path) if read_manifest(path)["format"] == FIRST_FORMAT else Reader(path)
    except (DamageError, OSError, ValueError) as error:
        raise ArtifactError(str(path), f"cannot be read ({error})", "name a checkpoint that verifies") from None


def _read(path: Path, state: dict[str, Any], reader: StorageReader, *, alone: bool) -> None:
    try:
        with _alone_is_fine():
            read_state(state, storage_reader=reader, planner=SafePlanner(), no_dist=alone)
    except CheckpointException as error:
        fault: BaseException = next((fault for fault, _ in error.failures.values()), error)
        if isinstance(fault, ArtifactError):
            raise fault from None
        reason = " ".join(str(fault).split())
        raise ArtifactError(str(path), f"does not fit this training: {reason}", "name another checkpoint") from error


def _is_job() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def _alone_is_fine() -> Iterator[None]:
    """Without a process group torch warns that it loads in this process alone, which is what is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")
        yield
