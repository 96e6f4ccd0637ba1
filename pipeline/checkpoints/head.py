"""The head of a safetensors file: eight bytes of length, then JSON with each tensor's type, shape and place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

from pipeline.checkpoints.content import DTYPES

NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "bool": "BOOL",
    "complex64": "C64",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}
"""The format's names of torch's types."""


def head(tensors: Mapping[str, tuple[str, Sequence[int], int]], metadata: Mapping[str, str]) -> bytes:
    """The head of a file of tensors given as dtype, shape and first byte after the head; `metadata` are texts for it.

    The format allows no gaps between tensors; its own writer orders them by size of type, so that all are aligned.
    """
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    for key, (dtype, shape, start) in tensors.items():
        end = start + DTYPES[dtype] * prod(shape)
        entries[key] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def read_metadata(path: Path) -> dict[str, str]:
    """The texts in the head of a safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        found: dict[str, str] = json.loads(file.read(length)).get("__metadata__", {})
    return found
