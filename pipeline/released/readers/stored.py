"""What a released file holds, before a tensor of it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.checkpoints.tensorwise import Stored


@dataclass(frozen=True, kw_only=True)
class Held:
    """The weights in a file, or in the files that it lists."""

    path: Path
    kind: str
    """The file's format, for people: "pickle of pycls"."""
    parts: tuple[Path, ...] = ()
    """The files that it lists, where they hold the tensors."""
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
