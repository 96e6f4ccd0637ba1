"""A training state, and its saves and restores: by the pipeline, by torch alone, and with the hashing left out.

Each job gives what it measured itself, in seconds. The state is that of SGD on a convolutional network: weights, their
momenta, and many small vectors. Its size in bytes is in STATE_BYTES.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import warnings
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.checkpoint.state_dict_saver import save as torch_save

sys.path.insert(0, str(Path(__file__).parents[3]))

from pipeline.checkpoints import part
from pipeline.checkpoints.rows import sum_of_rows
from pipeline.checkpoints.store import Position, Retention, Saver, latest, restore
from tests.benchmarks.side import serve

WIDTH, GROUP = 928, 232
"""Channels, and of a group: a block of about 8 million weights, as in the larger RegNets."""


def state_of(size: int) -> dict[str, Any]:
    torch.manual_seed(0)
    weights: dict[str, torch.Tensor] = {}
    block = 0
    while sum(tensor.nbytes for tensor in weights.values()) < size / 2:
        weights[f"{block}.a.weight"] = torch.randn(WIDTH, WIDTH, 1, 1)
        weights[f"{block}.b.weight"] = torch.randn(WIDTH, GROUP, 3, 3)
        weights[f"{block}.c.weight"] = torch.randn(WIDTH, WIDTH, 1, 1)
        for name in ("weight", "bias", "running_mean", "running_var"):
            for norm in "abc":
                weights[f"{block}.{norm}_bn.{name}"] = torch.randn(WIDTH)
        block += 1
    momenta = {name: {"momentum_buffer": torch.randn_like(tensor)} for name, tensor in weights.items()}
    return {"objective": weights, "optimizer": {"state": momenta}}


STATE = state_of(int(os.environ["STATE_BYTES"]))
NUMBER = 0
SAVERS: dict[str, Saver] = {}


def size() -> int:
    """Bytes of the state. The machine code of the hash is loaded, which takes memory once."""
    sum_of_rows(np.zeros(8, np.uint8), 1)
    objective, momenta = STATE["objective"], STATE["optimizer"]["state"]
    return sum(t.nbytes for t in [*objective.values(), *(m["momentum_buffer"] for m in momenta.values())])


def saver(out: str) -> Saver:
    if out not in SAVERS:
        SAVERS.clear()
        SAVERS[out] = Saver(Path(out), Retention(last=1))
    return SAVERS[out]


def next_position() -> Position:
    global NUMBER
    NUMBER += 1
    return Position(step=NUMBER, consumed=NUMBER)


def save(out: str) -> dict[str, float]:
    """The whole save, here and now."""
    started = time.perf_counter()
    saver(out).save(STATE, next_position(), wait=True)
    return {"seconds": time.perf_counter() - started}


def save_behind(out: str) -> dict[str, float]:
    """How long training stands still, and how long it takes until all is safe."""
    started = time.perf_counter()
    saver(out).save(STATE, next_position())
    stall = time.perf_counter() - started
    saver(out).finish()
    return {"seconds": stall, "safe": time.perf_counter() - started}


def save_unhashed(out: str) -> dict[str, float]:
    """The same save without the two hashes of each byte."""
    kept = part._sha256, part._sums
    part._sha256 = lambda *_: ""  # type: ignore[assignment]
    part._sums = lambda pieces, *_: [0] * len(pieces)  # type: ignore[assignment]
    try:
        return save(out)
    finally:
        part._sha256, part._sums = kept


def load(out: str) -> dict[str, float]:
    """Find the newest, verify every byte, fill the state."""
    started = time.perf_counter()
    found, _ = latest(Path(out))
    assert found is not None
    verified = time.perf_counter() - started
    restore(found, STATE)
    return {"seconds": time.perf_counter() - started, "verify": verified}


def torch_saves(out: str) -> dict[str, float]:
    """torch's save alone, brought to the disk."""
    folder = Path(out) / "torch"
    shutil.rmtree(folder, ignore_errors=True)
    started = time.perf_counter()
    torch_save(STATE, storage_writer=FileSystemWriter(folder, sync_files=True), no_dist=True)
    return {"seconds": time.perf_counter() - started}


def torch_saves_behind(out: str) -> dict[str, float]:
    """How long torch's async_save holds its caller. It keeps buffers from call to call only where there is a GPU."""
    if not dist.is_initialized():
        dist.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/store", rank=0, world_size=1)
    folder = Path(out) / "torch"
    shutil.rmtree(folder, ignore_errors=True)
    writer = FileSystemWriter(folder, sync_files=True, cache_staged_state_dict=torch.cuda.is_available())
    started = time.perf_counter()
    done: Any = async_save(STATE, storage_writer=writer)
    stall = time.perf_counter() - started
    assert isinstance(done, Future)
    done.result()
    return {"seconds": stall}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    serve(
        save=save,
        size=size,
        save_behind=save_behind,
        save_unhashed=save_unhashed,
        load=load,
        torch_saves=torch_saves,
        torch_saves_behind=torch_saves_behind,
    )
