"""Draw every parameter of a network that was built on the meta device, whole or sharded.

The values depend on the seed and on each parameter's name, and on nothing else: not on the sharding, the number of
processes, the device, the precision or the order of modules. So 10 billion parameters need never be on one host, and
one process starts from the same weights, to the bit, as five hundred.

- A parameter is drawn in blocks of whole rows. Each has numbers of its own: Philox (Salmon et al. 2011) with a key
  hashed from seed and name, counting from the block's number. A process draws the blocks that its rows overlap.
- What is drawn is said in `laws.py`; wrappers of sharding, recomputation, compilation and DDP do not change a name.
- Drawn in fp32 on the CPU. torch's own generator would not do there: 32 bits of its seed count, and among the million
  blocks of a large network some would be alike.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pipeline.models.laws import Law, laws_of

BLOCK = 8192
"""A block has the fewest rows that hold this many numbers; changing it changes every network's start."""

_WRAPPERS = {"_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_orig_mod", "module"}


@torch.no_grad()
def initialise(module: nn.Module, seed: int) -> None:
    """Fill all parameters and buffers of `module` in place, after `to_empty` and after sharding.

    A parameter may be a plain tensor, or a DTensor that is replicated or sharded on its rows over any dimensions of
    its mesh. Buffers are those of BatchNorm, or of a module that defines `reset_buffers()`, which fills them in place.

    Raises NotImplementedError for a parameter or buffer that nobody has said how to start, or sharded otherwise;
    ValueError for a law of no parameter, or a parameter still on meta.
    """
    laws: dict[str, Law] = {}
    for path, part in module.named_modules():
        for name, law in laws_of(part).items():
            laws.setdefault(clean_name(f"{path}.{name}" if path else name), law)
        _reset_buffers(path, part)
    drawn: set[str] = set()
    for path, parameter in module.named_parameters():
        name = clean_name(path)
        assert name not in drawn, f"two parameters are called {name}"
        if name not in laws:
            raise NotImplementedError(f"nobody says how {name} starts; give its module a method laws() that does")
        fill_(parameter, laws[name], f"{seed} {name}")
        drawn.add(name)
    # Shared parameters have several names, and are drawn under the first.
    unknown = laws.keys() - {clean_name(path) for path, _ in module.named_parameters(remove_duplicate=False)}
    if unknown:
        raise ValueError(f"laws() speaks of {', '.join(sorted(unknown))}, but there is no such parameter")


def clean_name(path: str) -> str:
    """The name of a parameter without what wrappers put into it."""
    return ".".join(part for part in path.split(".") if part not in _WRAPPERS)


def fill_(parameter: Tensor, law: Law, key: str) -> None:
    """Draw the rows of `parameter` that this process holds."""
    rows = held(parameter)
    local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
    if not rows or not local.numel():
        return
    if local.is_meta:
        raise ValueError("a parameter is still on the meta device; call to_empty before initialise")
    local, row = (local, tuple(local.shape[1:])) if local.ndim else (local.view(1), ())
    assert len(local) == len(rows)
    height = -(-BLOCK // local[0].numel())
    for number in range(rows.start // height, -(-rows.stop // height)):
        block = range(number * height, min((number + 1) * height, _rows(parameter)))
        drawn = torch.from_numpy(law(_source(key, number), (len(block), *row)))
        here = range(max(block.start, rows.start), min(block.stop, rows.stop))
        part = drawn[here.start - block.start : here.stop - block.start]
        local[here.start - rows.start : here.stop - rows.start].copy_(part)


def held(parameter: Tensor) -> range:
    """The rows of a parameter that this process holds; torch.chunk's share of them for each sharded dimension."""
    rows = range(_rows(parameter))
    if not isinstance(parameter, DTensor):
        return rows
    place = parameter.device_mesh.get_coordinate()
    if place is None:
        return rows[:0]
    for size, number, placement in zip(parameter.device_mesh.shape, place, parameter.placements, strict=True):
        if placement.is_shard(0):
            share = -(-len(rows) // size)
            rows = rows[number * share : (number + 1) * share]
        elif not placement.is_replicate():
            raise NotImplementedError(f"a parameter is {placement}; it can be drawn replicated or sharded on its rows")
    return rows


def _rows(parameter: Tensor) -> int:
    return parameter.shape[0] if parameter.ndim else 1


def _source(key: str, number: int) -> np.random.Generator:
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    # The counter has 256 bits; a block counts in the lower half of them.
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"), counter=number << 128))


def _reset_buffers(path: str, module: nn.Module) -> None:
    names = [name for name, _ in module.named_buffers(recurse=False)]
    if not names:
        return
    reset = getattr(module, "reset_buffers", None) or getattr(module, "reset_running_stats", None)
    if reset is None:
        where = clean_name(path) or type(module).__name__
        raise NotImplementedError(f"nobody says how {', '.join(names)} of {where} start; define reset_buffers() there")
    reset()
