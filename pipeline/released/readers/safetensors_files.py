"""Safetensors: one file, or the parts of one network that an index lists (`model.safetensors.index.json`).

The format cannot hold code. Its reader checks the head against the file's size before any tensor is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.checkpoints.head import NAMES
from pipeline.checkpoints.tensorwise import Stored
from pipeline.errors import ArtifactError
from pipeline.released.readers.kinds import DAMAGED
from pipeline.released.readers.stored import Held

_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, dtype) for dtype, name in NAMES.items()}


def read(path: Path) -> Held:
    """What a file holds. Raises `ArtifactError` for one that is cut off or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {}
            for name in file.keys():  # noqa: SIM118
                part = file.get_slice(name)
                if part.get_dtype() not in _DTYPES:
                    raise ArtifactError(str(path), f"holds {name} as {part.get_dtype()}", "save it as fp32")
                shape, dtype = tuple(part.get_shape()), _DTYPES[part.get_dtype()]
                tensors[name] = Stored(shape, dtype, _reading(path, name))
            return Held(path=path, kind="safetensors", tensors=tensors, says=file.metadata() or {})
    except (SafetensorError, OSError) as error:
        given = f"is cut off or damaged: {path.stat().st_size:,} bytes ({' '.join(str(error).split())})"
        raise ArtifactError(str(path), given, DAMAGED) from None


def parts_of(index: Path) -> list[Path]:
    """The files that an index lists. Raises `ArtifactError` for one that is missing, or lies elsewhere; or for none."""
    names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    if not names:
        raise ArtifactError(str(index), "lists no weights", DAMAGED)
    for name in names:
        if Path(name).name != name:
            raise ArtifactError(str(index), f"names {name}, which lies elsewhere", "put all parts into one folder")
        if not (index.parent / name).is_file():
            raise ArtifactError(
                str(index.parent / name), f"is missing; {index.name} lists {len(names)} files", "fetch all of them"
            )
    return [index.parent / name for name in names]


def _reading(path: Path, name: str) -> Callable[[], Tensor]:
    def read() -> Tensor:
        with safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    return read
