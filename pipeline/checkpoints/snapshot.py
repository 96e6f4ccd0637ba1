"""Tensors handed to another process as a file: safetensors, so that it maps them and runs no code from it.

A snapshot is no checkpoint: it is not brought to the disk, and none is needed to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pipeline.checkpoints.head import head
from pipeline.checkpoints.tensors import bytes_of, dtype_name


def write_snapshot(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write contiguous tensors on the CPU through a temporary name. Raises `OSError`.

    No kernel of torch runs here, so a thread beside training may do it: one that enters OpenMP would halve its speed.
    """
    ordered = sorted(tensors.items(), key=lambda item: -item[1].element_size())  # so that all are aligned
    described, begin = {}, 0
    for name, tensor in ordered:
        described[name] = (dtype_name(tensor.dtype), tuple(tensor.shape), begin)
        begin += tensor.numel() * tensor.element_size()
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb", 0) as file:
            file.write(head(described, {}))
            for _, tensor in ordered:
                view = bytes_of(tensor).data
                while view:
                    view = view[file.write(view) :]
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
