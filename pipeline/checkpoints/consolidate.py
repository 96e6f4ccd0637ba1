"""One file with the whole objective of a checkpoint: safetensors, or a `.pt` that `weights_only` loads.

The bytes are copied from the parts to their places, a few at a time: it takes no more memory for ten billion weights.
"""

from __future__ import annotations

import os
from math import prod
from pathlib import Path

from data_shards.durable import sync_directory
from pipeline.checkpoints.content import DTYPES
from pipeline.checkpoints.head import head
from pipeline.checkpoints.manifest import FIRST_FORMAT, Saved
from pipeline.checkpoints.verify import index_of, root_of
from pipeline.errors import ArtifactError

OBJECTIVE = "objective."
_AT_ONCE = 16 << 20  # bytes


def consolidate(saved: Saved, out: Path) -> int:
    """Write the objective's tensors, under their names in it, to `out`; gives how many. Raises `ArtifactError`."""
    if out.suffix not in (".safetensors", ".pt"):
        raise ArtifactError(str(out), "is no name for weights", "end it in .safetensors or .pt")
    if not out.parent.is_dir():
        raise ArtifactError(str(out.parent), "does not exist", "make it, or name another place")
    if saved.format == FIRST_FORMAT:
        return _first_format(saved, out)
    temporary = out.with_name(f".{out.name}.tmp")
    try:
        count = _copy(saved, temporary)
        if out.suffix == ".pt":
            _as_pt(temporary)
        os.replace(temporary, out)
        sync_directory(out.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _copy(saved: Saved, out: Path) -> int:
    index = index_of(saved.path)
    tensors = {name: facts for name, facts in index["tensors"].items() if name.startswith(OBJECTIVE)}
    begin, entries = 0, {}
    for name in sorted(tensors, key=lambda name: (-DTYPES[tensors[name]["dtype"]], name)):
        dtype, shape = tensors[name]["dtype"], tensors[name]["shape"]
        entries[name.removeprefix(OBJECTIVE)] = (dtype, shape, begin)
        begin += DTYPES[dtype] * prod(shape)
    metadata = {"step": str(saved.step), "content": root_of(index, OBJECTIVE), "format": "pt"}
    first = head(entries, metadata)
    with out.open("wb", 0) as file:
        os.ftruncate(file.fileno(), len(first) + begin)
        os.pwrite(file.fileno(), first, 0)
        for key, (dtype, shape, start) in entries.items():
            row = DTYPES[dtype] * prod(shape[1:])
            for part, source, offsets, sizes in tensors[OBJECTIVE + key]["pieces"]:
                place = len(first) + start + (offsets[0] * row if offsets else 0)
                _copy_bytes(
                    saved.path / index["parts"][part], source, file.fileno(), place, DTYPES[dtype] * prod(sizes)
                )
        os.fsync(file.fileno())
    return len(entries)


def _copy_bytes(path: Path, source: int, target: int, place: int, size: int) -> None:
    with path.open("rb", 0) as file:
        done = 0
        while done < size:
            content = os.pread(file.fileno(), min(_AT_ONCE, size - done), source + done)
            if not content:
                raise ArtifactError(str(path), "ends too early", "use a checkpoint that verifies")
            view, position = memoryview(content), place + done
            while view:
                written = os.pwrite(target, view, position)
                view, position = view[written:], position + written
            done += len(content)


def _as_pt(path: Path) -> None:
    """The same tensors as torch.save writes them, read from the map of the file: the system pages them in and out."""
    import torch
    from safetensors.torch import load_file

    other = path.with_name(f"{path.name}.pt")
    try:
        torch.save(load_file(path), other)
        with other.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(other, path)
    finally:
        other.unlink(missing_ok=True)


def _first_format(saved: Saved, out: Path) -> int:
    import torch

    from pipeline.checkpoints.plain import save_plain
    from pipeline.checkpoints.store import read_tensors

    tensors = read_tensors(saved.path, "")
    if out.suffix == ".pt":
        torch.save(tensors, out)
    else:
        save_plain(tensors, out)
    return len(tensors)
