"""Every tensor of a file accounted for before one is loaded: taken, left out with a reason, or an error that names it.

Works on names and shapes alone, so nothing has to be in memory:

    account = accounting.account(shapes, where)
    tensors = {ours: read(theirs) for ours, theirs in account.sources.items()} | account.zeros()
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from pipeline.errors import ArtifactError
from pipeline.models.regnet import RegNet
from pipeline.released.architecture import Shapes, architecture, tell
from pipeline.released.layouts import BACKBONE, CLASSIFIER, Layout, recognise

COUNTER = ".num_batches_tracked"
"""BatchNorm's count of batches. Old files have none, and with a fixed momentum nothing reads it."""

_LISTED = 12


@dataclass(frozen=True, kw_only=True)
class Account:
    """What becomes of each tensor of a file."""

    layout: Layout
    model: RegNet.Config
    """The network; its mean and std are the usual ones, as shapes do not tell them."""
    sources: Mapping[str, str]
    """The file's name of each tensor that is loaded, by our name."""
    left_out: Mapping[str, str]
    """Why a tensor of the file is not loaded, by the file's name."""
    absent: Sequence[str]
    """Our names of the counters that the file has not; they begin at 0."""
    classes: int | None
    """Classes of the classifier; None without one."""

    def zeros(self) -> dict[str, Tensor]:
        """The counters that the file has not."""
        return {name: torch.zeros((), dtype=torch.int64) for name in self.absent}

    def tell(self) -> str:
        """The account in a sentence."""
        head = f"a classifier of {self.classes} classes" if self.classes else "no classifier"
        said = [f"{tell(self.model)} as {self.layout.name} names it: {len(self.sources)} tensors loaded, {head}"]
        for reason in dict.fromkeys(self.left_out.values()):
            names = [name for name, why in self.left_out.items() if why == reason]
            said.append(f"{_some(names)} left out, as {reason}")
        if self.absent:
            said.append(f"{len(self.absent)} counters of BatchNorm begin at 0")
        return "; ".join(said)


def account(shapes: Shapes, where: str, model: RegNet.Config | None = None) -> Account:
    """The account of a file's tensors, given each one's shape.

    `where` is what an error calls the file. `model` is the network it should be; without one it is found from the
    shapes. Raises `ArtifactError` if the tensors are of no layout, or do not make the network exactly.
    """
    layout = recognise(shapes, where)
    sources: dict[str, str] = {}
    left_out: dict[str, str] = {}
    strangers: list[str] = []
    for theirs in shapes:
        if ours := layout.to_ours(theirs):
            if ours in sources:
                raise ArtifactError(
                    where, f"holds {sources[ours]} and {theirs}, which are the same", "keep one of them"
                )
            sources[ours] = theirs
        elif reason := layout.reason(theirs):
            left_out[theirs] = reason
        else:
            strangers.append(f"{theirs} {tuple(shapes[theirs])}")
    found = {ours: tuple(shapes[theirs]) for ours, theirs in sources.items()}
    model = model or architecture(found, where)
    expected = dict(_expected(model))
    classes = _classes(found, sources, left_out, expected)
    absent = [name for name in expected if name not in found and name.endswith(COUNTER)]
    faults = {
        "missing": [f"{name} {shape}" for name, shape in expected.items() if name not in found and name not in absent],
        "of another shape": [
            f"{sources[name]} {found[name]} instead of {shape}"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
        "strangers": [f"{sources[name]} {found[name]}" for name in found if name not in expected] + strangers,
    }
    if any(faults.values()):
        lists = "; ".join(f"{kind}: {_some(names)}" for kind, names in faults.items() if names)
        raise ArtifactError(where, f"does not hold {tell(model)} as {layout.name} names it ({lists})", _cure(faults))
    return Account(
        layout=layout, model=model, sources=sources, left_out=left_out, absent=tuple(absent), classes=classes
    )


@cache
def _expected(model: RegNet.Config) -> Mapping[str, tuple[int, ...]]:
    with torch.device("meta"):
        backbone = model.build()
    return {BACKBONE + name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}


def _classes(
    found: dict[str, tuple[int, ...]],
    sources: dict[str, str],
    left_out: dict[str, str],
    expected: dict[str, tuple[int, ...]],
) -> int | None:
    """Add the classifier to what is expected, or leave it out where it does not stand on the features."""
    weight, bias = f"{CLASSIFIER}weight", f"{CLASSIFIER}bias"
    if weight not in found:
        return None
    width = next(reversed([shape for name, shape in expected.items() if name.endswith(".f.c.weight")]))[0]
    if len(found[weight]) == 2 and found[weight][1] == width:
        expected |= {weight: found[weight], bias: found[weight][:1]}
        return found[weight][0]
    for name in (weight, bias):
        if name in found:
            shape = found.pop(name)
            left_out[sources.pop(name)] = f"a classifier {shape} does not stand on features {width} wide"
    return None


def _cure(faults: Mapping[str, Sequence[str]]) -> str:
    if faults["missing"]:
        return "the file is cut off, or holds another network"
    return "it holds another network, or one that was changed"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
