"""Files of released weights, opened without trusting them and without reading their tensors.

read(path)              what a file holds: names, shapes, and what reads each tensor
kinds.py                what kind of file it is, by its first bytes
pickles.py              torch.save's, with `weights_only`, mapped     nested.py   where the weights lie in them
vissl.py                VISSL's, in one file or in many               fairscale_shards.py   joins FSDP's shards
safetensors_files.py    safetensors, one file or an index of several
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.checkpoints.tensorwise import Stored
from pipeline.errors import ArtifactError
from pipeline.released.readers import nested, pickles, safetensors_files, vissl
from pipeline.released.readers.kinds import DAMAGED, check_sums, kind_of
from pipeline.released.readers.stored import Held

__all__ = ["Held", "Stored", "check_sums", "read"]


def read(path: Path) -> Held:
    """What a file of weights holds, of any kind. Raises `ArtifactError` for what is none, hostile, or cut off."""
    kind = kind_of(path)
    if kind == "index":
        return _together(path, [_part(path, part) for part in safetensors_files.parts_of(path)])
    if kind == "safetensors":
        held = safetensors_files.read(path)
        wrapped = nested.unwrapped(held.tensors)
        return Held(path=path, kind=held.kind, tensors=wrapped, says=held.says)
    content = pickles.load(path, kind)
    if vissl.is_vissl(content):
        return vissl.read(path, content)
    tensors, whose, notes = nested.weights_in(path, content)
    for name, tensor in tensors.items():
        pickles.check_tensor(path, name, tensor)
    return Held(
        path=path,
        kind=f"pickle {whose}".strip(),
        tensors={name: Stored.of(tensor) for name, tensor in tensors.items()},
        notes=notes,
        bgr=whose == "of pycls" and _is_pycls(content),
    )


def _is_pycls(content: object) -> bool:
    """Whether pycls itself wrote this, whose images come from OpenCV."""
    return isinstance(content, Mapping) and "epoch" in content and "cfg" in content


def _part(index: Path, path: Path) -> Held:
    if kind_of(path) == "index":
        raise ArtifactError(str(index), f"lists {path.name}, which is a list itself", DAMAGED)
    return read(path)


def _together(index: Path, parts: list[Held]) -> Held:
    tensors: dict[str, Stored] = {}
    for part in parts:
        if twice := tensors.keys() & part.tensors.keys():
            raise ArtifactError(str(part.path), f"holds {min(twice)}, which another part holds too", "fetch it again")
        tensors |= part.tensors
    says = {name: text for part in parts for name, text in part.says.items()}
    files = tuple(part.path for part in parts)
    return Held(path=index, kind=f"{parts[0].kind} in {len(parts)} files", parts=files, tensors=tensors, says=says)
