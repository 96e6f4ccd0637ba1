"""The tensors of a network that fairscale's FSDP dealt out over processes, joined again by fairscale.

The only file that knows how fairscale consolidates. It is asked for one FSDP unit at a time, when a tensor of the unit
is read: joining the ten billion weights of a network at once would take their memory twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.checkpoints.tensorwise import Stored
from pipeline.errors import ArtifactError
from pipeline.released.readers.pickles import check_tensor


def joined(
    path: Path, shards: Sequence[Mapping[str, Tensor]], metas: Sequence[Mapping[str, Any] | None], prefix: str
) -> dict[str, Stored]:
    """All tensors by their whole names below `prefix`, from each process's tensors and FSDP's notes on them.

    Raises `ArtifactError` where the notes do not fit the tensors.
    """
    try:
        whole = [meta for meta in metas if meta]
        if not whole or len(whole) < len(shards):
            raise ValueError("a file has no metadata of FSDP")
        first, read = whole[0], _reader(path, shards, whole)
        for shard in shards:
            for name, tensor in shard.items():
                check_tensor(path, prefix + name, tensor)
        found: dict[str, Stored] = {}
        for number, unit in enumerate(first["param_metadata"]):
            path_of = f"{unit['fsdp_path']}." if unit["fsdp_path"] else ""
            for key, parameter in unit["params"].items():
                held = [shard[path_of + key] for shard in shards]
                dtype = held[0].dtype
                for name, shape in zip(parameter["names"], parameter["shapes"], strict=True):
                    found[prefix + path_of + name] = Stored(tuple(shape), dtype, _one(read, number, path_of + name))
            for source, copy in unit["shared_param_info"]:
                found[prefix + copy] = found[prefix + source]
        for name in first["buffer_names"]:
            found[prefix + name] = Stored.of(shards[0][name])
        return found
    except (AssertionError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise _unfit(path, error) from None


def _reader(
    path: Path, shards: Sequence[Mapping[str, Tensor]], metas: Sequence[Mapping[str, Any]]
) -> Callable[[int], dict[str, Tensor]]:
    """What joins the tensors of a unit, and keeps those of the last few: BatchNorms are units within their block's."""

    @lru_cache(maxsize=4)
    def read(number: int) -> dict[str, Tensor]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from fairscale.nn import FullyShardedDataParallel
        alone = [
            {"param_metadata": [{**meta["param_metadata"][number], "shared_param_info": []}], "buffer_names": []}
            for meta in metas
        ]
        try:
            with torch.no_grad():
                return dict(FullyShardedDataParallel.consolidate_shard_weights(list(shards), alone))
        except (AssertionError, LookupError, TypeError, RuntimeError, ValueError) as error:
            raise _unfit(path, error) from None

    return read


def _one(read: Callable[[int], dict[str, Tensor]], number: int, name: str) -> Callable[[], Tensor]:
    return lambda: read(number)[name].detach()


def _unfit(path: Path, error: BaseException) -> ArtifactError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ArtifactError(
        str(path),
        f"lists shards that do not fit together ({reason})",
        "fetch all files of one checkpoint into a folder",
    )
