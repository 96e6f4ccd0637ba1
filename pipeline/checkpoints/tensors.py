"""One hash over named tensors: name, dtype, shape and content. Equal values give equal hashes; content.py says how."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.checkpoints.content import root
from pipeline.checkpoints.rows import sum_of_rows


def root_hash(tensors: Mapping[str, Tensor]) -> str:
    """The root over whole tensors, on any device."""
    return root((name, dtype_name(t.dtype), tuple(t.shape), _sum(t)) for name, t in tensors.items())


def dtype_name(dtype: torch.dtype) -> str:
    """ "float32" for torch.float32."""
    return str(dtype).removeprefix("torch.")


def bytes_of(tensor: Tensor) -> NDArray[np.uint8]:
    """The bytes of a contiguous tensor on the CPU, 1-D and not copied."""
    content: NDArray[np.uint8] = tensor.reshape(-1).view(torch.uint8).numpy()
    return content


def _sum(tensor: Tensor) -> int:
    return sum_of_rows(bytes_of(tensor.detach().cpu().contiguous()), tensor.shape[0] if tensor.dim() else 1)
