"""The states of a process's random generators: torch's (CPU and the current CUDA device), numpy's and Python's.

They are a process's own: on as many processes as before each gets its own back. On another number there is no right
answer, and each is seeded from the checkpoint's root and its rank instead: repeatable, and different in every process.
Data order and crops need none of them: they are keyed by seed, epoch, sample and view.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from typing import Any

import numpy as np
import torch


def states() -> str:
    """The states of all generators, as JSON."""
    twister = np.random.get_state(legacy=False)
    assert isinstance(twister, dict)
    inner_state = twister["state"]
    numpy = [
        _text(inner_state["key"].astype("<u4").tobytes()),
        inner_state["pos"],
        twister["has_gauss"],
        twister["gauss"],
    ]
    version, inner, gauss = random.getstate()
    found: dict[str, Any] = {
        "torch": _text(torch.get_rng_state().numpy().tobytes()),
        "numpy": numpy,
        "python": [version, list(inner), gauss],
    }
    if torch.cuda.is_available():
        found["cuda"] = _text(torch.cuda.get_rng_state().numpy().tobytes())
    return json.dumps(found)


def set_states(text: str) -> None:
    """Put the states back that `states` gave."""
    found = json.loads(text)
    torch.set_rng_state(_tensor(found["torch"]))
    keys, position, has_gauss, gauss = found["numpy"]
    key = np.frombuffer(base64.b64decode(keys), "<u4").astype(np.uint32)
    np.random.set_state(("MT19937", key, position, has_gauss, gauss))
    version, inner, last = found["python"]
    random.setstate((version, tuple(inner), last))
    if "cuda" in found and torch.cuda.is_available():
        torch.cuda.set_rng_state(_tensor(found["cuda"]))


def seed_from(root: str, rank: int) -> None:
    """Seed all generators of process `rank` from a checkpoint's root."""
    seed = int.from_bytes(hashlib.sha256(f"{root} {rank}".encode()).digest()[:8], "little") >> 1
    torch.manual_seed(seed)
    np.random.seed(seed % (1 << 32))
    random.seed(seed)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
