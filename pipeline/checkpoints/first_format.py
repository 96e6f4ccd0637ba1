"""Checkpoints of the first format: torch.distributed.checkpoint's own files, read without running what they hold.

Their `.metadata` is a pickle, and so is every value that is no tensor; torch loads both without a limit, and a pickle
can run any code. Here the first may name a dozen plain classes, and the second what `weights_only` allows.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import ReadItem

from pipeline.errors import ArtifactError

_METADATA = "torch.distributed.checkpoint.metadata"
ALLOWED = {
    *((_METADATA, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
    *((_METADATA, name) for name in ("TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata")),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    ("torch.serialization", "_get_layout"),
    (_METADATA, "_MEM_FORMAT_ENCODING"),
    ("torch", "Size"),
    ("pathlib", "PosixPath"),
}
"""What a metadata file that torch wrote names, beside types such as torch.float32."""


class FirstFormat(FileSystemReader):
    """torch's reader, which loads `.metadata` with nothing but the classes above."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The metadata. Raises `ArtifactError` for a file that names anything else."""
        path = Path(self.path) / ".metadata"
        try:
            with path.open("rb") as file:
                metadata = _Unpickler(file).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise _refused(path, str(error)) from None
        if not isinstance(metadata, Metadata):
            raise _refused(path, "it holds no metadata")
        for facts in (metadata.storage_data or {}).values():
            if Path(facts.relative_path).name != facts.relative_path:
                raise _refused(path, f"it names {facts.relative_path}, which lies elsewhere")
        return metadata


class SafePlanner(DefaultLoadPlanner):
    """torch's planner, which loads what is no tensor with `weights_only`."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Put a value into the state. Raises `ArtifactError` where it would run code."""
        try:
            plain = torch.load(value, weights_only=True)
        except pickle.UnpicklingError as error:
            reason = str(error).splitlines()[0]
            raise _refused(read_item.dest_index.fqn, reason) from None
        again = io.BytesIO()
        torch.save(plain, again)
        again.seek(0)
        super().load_bytes(read_item, again)


def _refused(where: Path | str, why: str) -> ArtifactError:
    return ArtifactError(str(where), f"is refused: {why}", "use a checkpoint that this pipeline wrote")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in ALLOWED or (module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it would run {module}.{name}")
