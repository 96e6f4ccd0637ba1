"""The part of a save that one process does for all: make room and a directory before, name it and tidy up after.

The order is what makes a kill harmless: files, directory, name, pointer, and only then what is no longer wanted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from data_shards.durable import move_durably, sync_directory, write_durably
from pipeline.checkpoints.content import MODULUS
from pipeline.checkpoints.manifest import (
    FORMAT,
    MANIFEST,
    POINTER,
    SAVING,
    TENSORS,
    Saved,
    amount,
    manifest_text,
    name_of,
)
from pipeline.checkpoints.part import Written
from pipeline.checkpoints.retention import Retention, make_room, remove, retain, tidy
from pipeline.checkpoints.verify import root_of
from pipeline.errors import RunError

MARGIN = 1 << 16
"""Bytes that a checkpoint may take beside its tensors, for each process."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where training stands when a checkpoint is taken."""

    step: int
    consumed: int
    """Samples the job has consumed."""
    stream: Mapping[str, Any] = field(default_factory=dict)
    """The state of the stream, `Loader.state_dict`."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What has been measured so far."""


def temporary_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies until it is whole."""
    return folder / f".{name_of(step)}{SAVING}"


def begin(folder: Path, step: int, size: int, processes: int, retention: Retention) -> None:
    """Make an empty directory for a checkpoint with `size` bytes of tensors. Raises `RunError` where it cannot fit."""
    folder.mkdir(parents=True, exist_ok=True)
    tidy(folder)
    needed = size + MARGIN * processes
    free = make_room(folder, needed, retention)
    if free < needed:
        raise RunError(
            str(folder),
            f"the checkpoint of step {step} takes {amount(needed)}, and {amount(free)} of space are left on the disk",
            "free some; the same command goes on from the checkpoint before",
        )
    temporary_of(folder, step).mkdir()


def commit(
    folder: Path,
    parts: Sequence[Written],
    values: Mapping[str, Any],
    position: Position,
    retention: Retention,
    facts: Mapping[str, Any],
) -> Saved:
    """Make a checkpoint of the parts that all processes wrote; `facts` are further ones for the manifest."""
    temporary, final = temporary_of(folder, position.step), folder / name_of(position.step)
    index = index_of_parts(parts, values)
    text = json.dumps(index, separators=(",", ":")).encode()
    files = {part.name: {"bytes": part.bytes, "sha256": part.sha256} for part in parts}
    files[TENSORS] = {"bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    manifest = {
        "format": FORMAT,
        "step": position.step,
        "consumed": position.consumed,
        "stream": dict(position.stream),
        "figures": dict(position.figures),
        "root": root_of(index, ""),
        "processes": len(parts),
        **facts,
        "files": files,
    }
    write_durably(temporary / TENSORS, text)
    write_durably(temporary / MANIFEST, manifest_text(manifest).encode())
    sync_directory(temporary)
    if final.exists():  # one that a restore passed over
        remove(final)
    move_durably(temporary, final)
    write_durably(folder / POINTER, f"{final.name}\n".encode())
    retain(folder, position.step, retention)
    return Saved.load(final)


def index_of_parts(parts: Sequence[Written], values: Mapping[str, Any]) -> dict[str, Any]:
    """The content of tensors.json: every tensor and its pieces, from what the processes wrote."""
    tensors: dict[str, dict[str, Any]] = {}
    sums: dict[str, int] = {}
    for number, part in enumerate(parts):
        for name, dtype, shape, first_byte, offsets, sizes, total in part.pieces:
            known = tensors.setdefault(name, {"dtype": dtype, "shape": list(shape), "content": "", "pieces": []})
            assert (known["dtype"], known["shape"]) == (dtype, list(shape)), name
            known["pieces"].append([number, first_byte, list(offsets), list(sizes)])
            sums[name] = (sums.get(name, 0) + total) % MODULUS
    for name, known in tensors.items():
        assert sum(prod(piece[3]) for piece in known["pieces"]) == prod(known["shape"]), f"{name} was not written whole"
        known["content"] = f"{sums[name]:064x}"
    return {"parts": [part.name for part in parts], "tensors": tensors, "values": dict(values)}
