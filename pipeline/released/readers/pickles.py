"""Pickles of torch.save, opened without running what they hold.

`weights_only` lets a pickle make tensors and plain values, and refuses whatever else it names. A few more names are
allowed, which do nothing but hold values: NumPy's numbers, of which training states are full, and argparse's Namespace.
The tensors of a mapped file are not read before their values are used.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ArtifactError
from pipeline.released.readers.kinds import DAMAGED, Kind

_NUMBERS = tuple(getattr(np.dtypes, name) for name in dir(np.dtypes) if name.endswith("DType") and name[0] in "BFIU")
PLAIN: tuple[Any, ...] = (
    np.dtype,
    np.ndarray,
    *_NUMBERS,
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),  # type: ignore[attr-defined]
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),  # type: ignore[attr-defined]
    (np._core.multiarray._reconstruct, "numpy._core.multiarray._reconstruct"),  # type: ignore[attr-defined]
    argparse.Namespace,
)
"""What a pickle may name beside what `weights_only` allows: none of it can run code."""
_NAMED = re.compile(r"GLOBAL ([\w.]+)|(?:function|class|type) `?([\w]+(?:\.\w+)+)")
_REFUSALS = ("nsupported", "Can only", "can only", "Trying to", "not allowed", "Blocklisted", "blocked")


def load(path: Path, kind: Kind) -> Any:
    """The value in a pickle, its tensors on the CPU and mapped where the format allows it.

    Raises `ArtifactError` for one that names code, is cut off, or claims larger tensors than it holds.
    """
    try:
        with _quietly(), torch.serialization.safe_globals(list(PLAIN)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=kind == "torch")
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error)) from None
    except (RuntimeError, EOFError, OSError, MemoryError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtifactError(
            str(path), f"is cut off or damaged: {path.stat().st_size:,} bytes ({reason})", DAMAGED
        ) from None


def check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    """Raise `ArtifactError` for a tensor that has more values than the file: by strides of 0 it may have any shape."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        raise ArtifactError(str(path), f"holds {name} as no plain tensor", "save its state_dict with plain tensors")
    held = tensor.untyped_storage().nbytes() // max(1, tensor.element_size())
    if tensor.numel() > held:
        shape = "×".join(map(str, tensor.shape))
        raise ArtifactError(
            str(path), f"is refused: {name} claims {shape} values, and the file holds {held:,} of them", DAMAGED
        )


def _refused(path: Path, message: str) -> ArtifactError:
    found = _NAMED.search(message)
    if found is None and "operand" in message:
        return ArtifactError(str(path), "is a pickle that torch.save did not write", "save its state_dict with it")
    if found is None and not any(word in message for word in _REFUSALS):
        return ArtifactError(str(path), f"is cut off or damaged: {path.stat().st_size:,} bytes", DAMAGED)
    what = f"it would run {found[1] or found[2]}" if found else "it holds what is neither tensor nor plain value"
    return ArtifactError(
        str(path),
        f"is refused: {what}, and a pickle can do anything with that",
        "where you trust the file, load it in its own library and save its state_dict alone, best as safetensors",
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Old files have typed storages, of which torch warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
