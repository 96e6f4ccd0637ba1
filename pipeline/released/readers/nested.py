"""Where the weights lie in what a pickle holds: a training state has them beside its optimizer and its counters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from pipeline.errors import ArtifactError
from pipeline.released.readers.kinds import WEIGHTS

T = TypeVar("T")
_PLACES = (
    ("model_state", "of pycls"),
    ("state_dict_ema", ""),
    ("model_ema", ""),
    ("state_dict", ""),
    ("model_state_dict", ""),
    ("model", ""),
)
"""Keys below which training states keep weights, best first, and whose they are."""
_AVERAGED = ("state_dict_ema", "model_ema")
WRAPPERS = ("_orig_mod.", "module.", "model.")
"""What stands before every name where a network was wrapped, by torch.compile, DistributedDataParallel or Lightning."""


def weights_in(path: Path, content: Any) -> tuple[dict[str, Tensor], str, tuple[str, ...]]:
    """The tensors, whose file it is ("of pycls", or nothing), and what was chosen, in sentences.

    Raises `ArtifactError` where there are none.
    """
    if isinstance(content, Mapping):
        for key, whose in _PLACES:
            inner = content.get(key)
            if isinstance(inner, Mapping) and (found := tensors_of(inner)):
                others = [name for name, _ in _PLACES if name != key and tensors_of(content.get(name))]
                chosen = f"took {key} and not {', '.join(others)}" if others else ""
                averaged = ", the average over training" if key in _AVERAGED else ""
                return unwrapped(found), whose, (chosen + averaged,) if chosen else ()
        if found := tensors_of(content):
            return unwrapped(found), "", ()
        keys = ", ".join(sorted(map(str, content))[:8])
        raise ArtifactError(str(path), f"holds no weights below {keys or 'anything'}", WEIGHTS)
    given = (
        f"holds a {type(content).__name__}" if not isinstance(content, Tensor) else "holds one tensor without a name"
    )
    raise ArtifactError(str(path), given, "save the network's state_dict")


def tensors_of(content: Any) -> dict[str, Tensor]:
    """The named tensors in a mapping; empty if it is none."""
    if not isinstance(content, Mapping):
        return {}
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def unwrapped(tensors: Mapping[str, T]) -> dict[str, T]:
    """The same tensors without what stands before every name."""
    while tensors and (start := next((word for word in WRAPPERS if all(n.startswith(word) for n in tensors)), "")):
        tensors = {name.removeprefix(start): tensor for name, tensor in tensors.items()}
    return dict(tensors)
