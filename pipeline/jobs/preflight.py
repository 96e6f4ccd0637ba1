"""Whether a node is fit to train on: seconds of checks that spare the other nodes hours of waiting for it.

    disk        the run directory and the disk for temporary files can be written, and give back what was written
    clock       this node's, against the file server's and that of the job's first node
    memory      /dev/shm, through which NCCL and torch join the tasks of a node
    shards      the manifest and the beginning of a shard, another one on every node, can be read
    gpu         as many as the job was given, with free memory, and a product of matrices that comes out right

A fault is one sentence. One that is `shared` may be the job's own: found on all nodes, it is not the nodes'.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from data_shards import remote
from data_shards.errors import ImageError, UserError
from data_shards.manifest import FILE as MANIFEST
from data_shards.manifest import Manifest
from data_shards.reading.cache import CacheSettings
from data_shards.reading.plain_tars import places_of
from pipeline.jobs.target import Target
from pipeline.runs import JOBS

MIB = 1 << 20
SHARED_MEMORY = 64 * MIB
"""Bytes of /dev/shm for each task: what NCCL takes for its buffers, and some to spare."""
SKEW = 5.0
"""Seconds by which a node's clock may differ: more, and leases and times in logs mislead."""
FREE_GPU = 0.8
"""Share of a GPU's memory that must be free: less, and another process still holds it."""


@dataclass(frozen=True)
class Fault:
    """Something wrong with a node."""

    check: str
    reason: str
    shared: bool = False


@dataclass(frozen=True)
class Health:
    """What a node says of itself; one line of JSON."""

    node: str
    time: float
    faults: tuple[Fault, ...]

    def line(self) -> str:
        """As `read` takes it."""
        return json.dumps(asdict(self))


def read(output: str) -> dict[str, Health]:
    """The nodes that have answered, by name; other lines are passed over."""
    healths = {}
    for line in output.splitlines():
        try:
            facts = json.loads(line)
            healths[facts["node"]] = Health(
                facts["node"], facts["time"], tuple(Fault(**fault) for fault in facts["faults"])
            )
        except (ValueError, TypeError, KeyError):
            continue
    return healths


def examine(target: Target, tasks: int, gpus: int, shm: Path = Path("/dev/shm")) -> Health:
    """All checks on this node, for so many tasks and GPUs on it."""
    node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
    checks: list[tuple[str, bool, Callable[[], str | None]]] = [
        ("run directory", True, lambda: disk(target.out / JOBS)),
        ("clock", False, lambda: clock(target.out / JOBS)),
        ("temporary disk", False, lambda: disk(Path(tempfile.gettempdir()))),
        ("shared memory", False, lambda: shared_memory(shm, tasks)),
        *((f"shards {where}", True, lambda where=where: reach(where, node)) for where in target.shards),
    ]
    if any(remote.is_url(where) for where in target.shards):
        folder = Path(target.cache or CacheSettings().folder).expanduser()
        checks.append(("cache", False, lambda: disk(folder)))
    if gpus:
        checks.append(("gpu", False, lambda: compute(gpus)))
    return Health(node, time.time(), tuple(_faults(checks)))


def disk(folder: Path) -> str | None:
    """What is wrong with writing a mebibyte to a folder, flushing it and reading it back."""
    content = os.urandom(MIB)
    path = folder / f".preflight-{uuid.uuid4().hex}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return None if path.read_bytes() == content else f"{folder} gives back other bytes than were written"
    finally:
        path.unlink(missing_ok=True)


def clock(folder: Path) -> str | None:
    """How far this node's clock is from the one that dates files in a folder, where that is too far."""
    path = folder / f".preflight-{uuid.uuid4().hex}"
    try:
        before = time.time()
        path.touch()
        dated = path.stat().st_mtime
        after = time.time()
    finally:
        path.unlink(missing_ok=True)
    return too_far(max(before - dated, dated - after), "the file server's")


def too_far(seconds: float, whose: str) -> str | None:
    """The sentence for a difference between two clocks, where it is too large."""
    return f"the clock is {seconds:.0f} s from {whose}; at most {SKEW:.0f} s are fine" if seconds > SKEW else None


def shared_memory(shm: Path, tasks: int) -> str | None:
    """Too little shared memory for the tasks of this node."""
    free, needed = shutil.disk_usage(shm).free, tasks * SHARED_MEMORY
    return None if free >= needed else f"{shm} has {free // MIB} MiB free; {tasks} tasks need {needed // MIB} MiB"


def reach(where: str, node: str) -> str | None:
    """What keeps this node from reading a shard set; each node tries the beginning of another shard."""
    places = _places(where)
    if not places:
        return f"{where} holds no shards"
    place = places[zlib.crc32(node.encode()) % len(places)]
    try:
        if remote.is_url(place):
            found = remote.read(place, 0, 512)
        else:
            with open(place, "rb") as file:
                found = file.read(512)
    except ImageError as error:
        return f"{place}: {error}"
    return None if found else f"{place} is empty"


def compute(gpus: int) -> str | None:
    """What is wrong with the GPUs of this node: their number, their memory, their arithmetic."""
    import torch

    if not torch.cuda.is_available() or torch.cuda.device_count() < gpus:
        return f"torch sees {torch.cuda.device_count()} GPUs; the job was given {gpus}"
    for number in range(gpus):
        free, total = torch.cuda.mem_get_info(number)
        if free < FREE_GPU * total:
            return f"GPU {number} has {free / 2**30:.0f} of {total / 2**30:.0f} GiB free: another process holds it"
        # Small whole numbers: their sums are exact in every arithmetic a GPU has, in whatever order.
        left = (torch.arange(1 << 20, device=f"cuda:{number}") % 3).float().reshape(1024, 1024)
        product = left @ left.T
        if not torch.equal(product.cpu(), left.cpu() @ left.cpu().T):
            return f"GPU {number} multiplies two matrices wrongly"
    return None


def _places(where: str) -> Sequence[str]:
    directory = Path(where)
    if not remote.is_url(where) and (directory / MANIFEST).exists():
        manifest = Manifest.load(directory)
        at = manifest.at or where
        return [f"{at.rstrip('/')}/{shard.name}" for shard in manifest.shards]
    if remote.is_url(where) and remote.exists(f"{where.rstrip('/')}/{MANIFEST}"):
        text = json.loads(remote.read(f"{where.rstrip('/')}/{MANIFEST}"))
        return [f"{where.rstrip('/')}/{shard['name']}" for shard in text["shards"]]
    return places_of(where)


def _faults(checks: Sequence[tuple[str, bool, Callable[[], str | None]]]) -> Iterator[Fault]:
    for name, shared, check in checks:
        try:
            reason = check()
        except OSError as error:
            reason = f"{error.filename or name}: {error.strerror or error}"
        except UserError as error:
            reason = f"{error.where} {error.given}"
        except Exception as error:  # a check that breaks is a finding: the node must answer
            reason = f"{type(error).__name__}: {error}"
        if reason:
            yield Fault(name, reason, shared)
