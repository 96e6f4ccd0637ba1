"""One hash over named tensors: name, dtype, shape and content, in name order. Equal values give equal hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def root_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over every tensor's name, dtype, shape and bytes."""
    root = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        root.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        root.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return root.hexdigest()
