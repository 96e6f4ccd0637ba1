"""Checkpoints of VISSL: trunk and heads below `classy_state_dict`, in one file or in many.

    consolidated   all tensors in this file; so are those without a word about their type
    shard_list     a list of files, one for each process that trained with fairscale's FSDP, each with a share of all
    slice_list     a list of files, one for each tensor

Names become `trunk._feature_blocks.…` and `heads.0.clf.0.weight`. Lists name their files by the paths of the machine
that wrote them; only the file's own name is used, in the folder of the list, or for slices in its `…_layers`.

Source: `vissl/utils/checkpoint.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from pipeline.checkpoints.tensorwise import Stored
from pipeline.errors import ArtifactError
from pipeline.released.readers import pickles
from pipeline.released.readers.kinds import DAMAGED, kind_of
from pipeline.released.readers.nested import tensors_of
from pipeline.released.readers.stored import Held

STATE = "classy_state_dict"
_WHOLE = "fetch all files of the checkpoint into one folder"


def is_vissl(content: Any) -> bool:
    """Whether a pickle's value is a checkpoint of VISSL, or a part of one."""
    if not isinstance(content, Mapping):
        return False
    return STATE in content or content.get("type") in ("shard_list", "slice_list", "slice")


def read(path: Path, content: Mapping[str, Any]) -> Held:
    """What the checkpoint holds.

    Raises `ArtifactError` for a part of one, where a listed file is missing, and for what VISSL would not write.
    """
    try:
        return _read(path, content)
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise ArtifactError(str(path), f"is of VISSL, but not made as VISSL makes it ({reason})", DAMAGED) from None


def _read(path: Path, content: Mapping[str, Any]) -> Held:
    kind = str(content.get("type", "consolidated"))
    if kind == "consolidated":
        trunk, heads = _model(path, content)
        tensors = {f"trunk.{name}": t for name, t in tensors_of(trunk).items()}
        tensors |= {f"heads.{name}": t for name, t in _heads(heads).items()}
        for name, tensor in tensors.items():
            pickles.check_tensor(path, name, tensor)
        return Held(path=path, kind="VISSL", tensors={name: Stored.of(t) for name, t in tensors.items()})
    if kind == "slice_list":
        files = _slices(path, content)
        slices = {name: _slice(path, name, file) for name, file in files.items()}
        return Held(path=path, kind="VISSL, a file for each tensor", parts=tuple(files.values()), tensors=slices)
    if kind == "shard_list":
        shards = _files_of_shards(path, content)
        return Held(path=path, kind="VISSL, sharded", parts=tuple(shards), tensors=_shards(path, shards))
    listed = path.name.rpartition("_shard")[0]
    right = f"name the list beside it, {listed}.torch" if listed else "name the file that lists the parts"
    raise ArtifactError(str(path), f"is one {kind} of a checkpoint that lies in several files", right)


def _model(path: Path, content: Mapping[str, Any]) -> tuple[Any, Any]:
    """Trunk and heads of a file. Raises `ArtifactError`."""
    try:
        model = content[STATE]["base_model"]["model"]
        return model["trunk"], model.get("heads") or {}
    except (LookupError, TypeError):
        raise ArtifactError(
            str(path), "is of VISSL, but has no trunk below classy_state_dict.base_model.model", DAMAGED
        ) from None


def _heads(heads: Any) -> dict[str, Tensor]:
    """The heads' tensors, `0.clf.0.weight`: a mapping in most files, a list of mappings in those of FSDP."""
    if isinstance(heads, Sequence):
        return {f"{n}.{name}": t for n, head in enumerate(heads) for name, t in tensors_of(head).items()}
    return tensors_of(heads)


def _slices(path: Path, content: Mapping[str, Any]) -> dict[str, Path]:
    """The file of each tensor."""
    listed = content.get("layers")  # an older form has the trunk's alone
    trunk, heads = (listed, {}) if isinstance(listed, Mapping) else _model(path, content)
    named = {f"trunk.{name}": where for name, where in trunk.items()}
    named |= {f"heads.{name}": where for name, where in heads.items()}
    folder = path.with_name(f"{path.stem}_layers")
    return {name: _beside(path, str(where), len(named), folder) for name, where in named.items()}


def _slice(path: Path, name: str, file: Path) -> Stored:
    def read() -> Tensor:
        content = pickles.load(file, kind_of(file))
        weight = content.get("weight") if isinstance(content, Mapping) else None
        if not isinstance(weight, Tensor):
            raise ArtifactError(str(file), f"holds no tensor, but {path.name} has {name} there", _WHOLE)
        pickles.check_tensor(file, name, weight)
        return weight.detach()

    first = read()  # mapped, so that a look at its shape reads a few hundred bytes
    return Stored(tuple(first.shape), first.dtype, read)


def _files_of_shards(path: Path, content: Mapping[str, Any]) -> list[Path]:
    listed = [str(where) for where in content.get("shards") or ()]
    if not listed:
        raise ArtifactError(str(path), "lists no shards", _WHOLE)
    return [_beside(path, where, len(listed)) for where in listed]


def _shards(path: Path, files: Sequence[Path]) -> dict[str, Stored]:
    from pipeline.released.readers.fairscale_shards import joined  # takes two seconds

    shards = [pickles.load(file, kind_of(file)) for file in files]
    models = [_model(file, shard) for file, shard in zip(files, shards, strict=True)]
    metas = [shard[STATE]["base_model"].get("meta") or {} for shard in shards]
    trunks = [tensors_of(trunk) for trunk, _ in models]
    found = joined(path, trunks, [meta.get("trunk") for meta in metas], "trunk.")
    count = len(models[0][1])
    if told := {len(meta.get("heads") or ()) for meta in metas} - {count}:
        raise ValueError(f"heads: {count}, and {told.pop()} in the notes of FSDP")
    for number in range(count):
        heads = [tensors_of(heads[number]) for _, heads in models]
        found |= joined(path, heads, [meta["heads"][number] for meta in metas], f"heads.{number}.")
    return found


def _beside(path: Path, where: str, files: int, *folders: Path) -> Path:
    """A file that a list names: in the list's folder, or in one of `folders`. Raises `ArtifactError` if it is not."""
    name = PurePosixPath(where.replace("\\", "/")).name
    places = [folder / name for folder in (*folders, path.parent)]
    for place in places:
        if name not in ("", ".", "..") and place.is_file():
            return place
    raise ArtifactError(str(places[0]), f"is missing; {path.name} lists {files} files", _WHOLE)
