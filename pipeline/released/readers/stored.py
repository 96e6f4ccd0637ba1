"""What a released file holds, before a tensor of it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Stored:
    """A tensor in a file. `read` gives it; where the file is mapped, that reads nothing until its values are used."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @classmethod
    def of(cls, tensor: Tensor) -> Stored:
        """A tensor that is already here, or mapped."""
        return cls(tuple(tensor.shape), tensor.dtype, lambda: tensor.detach())


def dtype_of(name: str) -> torch.dtype:
    """torch.float32 for "float32"."""
    dtype: torch.dtype = getattr(torch, name)
    return dtype


@dataclass(frozen=True, kw_only=True)
class Held:
    """The weights in a file, or in the files that it lists."""

    path: Path
    kind: str
    """The file's format, for people: "pickle of VISSL"."""
    tensors: Mapping[str, Stored]
    """By their names in the file, without what wraps all of them (`module.`)."""
    says: Mapping[str, str] = field(default_factory=dict)
    """Texts that the file carries, of safetensors its metadata."""
    notes: tuple[str, ...] = ()
    """What was chosen where the file holds several things, in sentences."""
    bgr: bool = False
    """Whether the network takes blue, green, red: pycls' own files."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor's shape."""
        return {name: stored.shape for name, stored in self.tensors.items()}
