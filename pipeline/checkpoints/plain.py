"""Tensors as one plain safetensors file, for whoever may read the directory it lies in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def save_plain(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write `path` whole or not at all, through a temporary name.

    safetensors makes files that only their owner may read (0600), which on a cluster are of no use to colleagues; this
    one gets the mode that any new file has here.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.touch()
        usual = temporary.stat().st_mode & 0o777
        save_file(dict(tensors), temporary, metadata=dict(metadata) if metadata else None)
        temporary.chmod(usual)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
