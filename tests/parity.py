"""The parity matrix: each RegNet in timm, torchvision and transformers against ours, weights in and weights out.

    python -m tests.parity            # measures all and writes the table into pipeline/released/README.md
    python -m tests.parity --check    # measures all and says what would change

A library makes a network with random weights; we load them, and compare the class scores of an image. Then our network
goes out under the library's names into a fresh network of the library, strictly, and is compared again. What is too
large to run is compared name by name and shape by shape on the meta device.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.models.heads import Classifier
from pipeline.models.regnet import CUSTOM, RegNet
from pipeline.released.accounting import Account, account
from pipeline.released.safetensors import Network
from tests.pipeline.released.libraries import LARGE, LIBRARIES, SMALL

PAGE = Path(__file__).parent.parent / "pipeline" / "released" / "README.md"
TOLERANCE = 1e-5
BOUND = "≤ 1e-5"
SHAPES = "names, shapes"
NONE = "–"
BEGIN, END = "<!-- parity -->", "<!-- /parity -->"


class Cell(NamedTuple):
    """What was found for one size and one library."""

    inward: str
    outward: str


@torch.no_grad()
def cell(size: str, library: str) -> Cell:
    """Build, load, compare, both ways."""
    if size in LARGE:
        return _by_shape(size, library)
    torch.manual_seed(0)
    theirs = LIBRARIES[library](size)
    if theirs is None:
        return Cell(NONE, NONE)
    unsettle(theirs)
    tensors = theirs.state_dict()
    found = account({name: tensor.shape for name, tensor in tensors.items()}, f"{library}'s {size}")
    ours = ours_with(found, tensors)
    image = torch.randn(1, 3, 64, 64)
    expected = scores(ours, image)
    texts = [_bound(scores(theirs, image), expected, found, size)]
    theirs.to("meta").load_state_dict(outward(found, ours), strict=True, assign=True)
    return Cell(*texts, _bound(scores(theirs, image), expected, found, size))


def _by_shape(size: str, library: str) -> Cell:
    with torch.device("meta"):
        theirs = LIBRARIES[library](size)
    if theirs is None:
        return Cell(NONE, NONE)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    found = account(shapes, f"{library}'s {size}")
    with torch.device("meta"):
        ours = ours_with(found, theirs.state_dict())
    back = {name: tensor.shape for name, tensor in outward(found, ours).items()}
    same = found.model.size == size and not found.left_out and not found.absent
    return Cell(SHAPES if same else "differs", SHAPES if back == shapes else "differs")


def ours_with(found: Account, tensors: dict[str, Tensor]) -> Network:
    """Our network with a library's tensors, as the account says."""
    network = _without_memory(found.model, found.classes)
    network.load_state_dict({ours: tensors[name] for ours, name in found.sources.items()} | found.zeros(), assign=True)
    return network


@lru_cache(maxsize=1)
def _without_memory(model: RegNet.Config, classes: int | None) -> Network:
    with torch.device("meta"):
        backbone = model.build()
        return Network(backbone, Classifier(backbone.width, classes) if classes else None)


def outward(found: Account, ours: Network) -> dict[str, Tensor]:
    """Our tensors under the library's names."""
    return {found.layout.from_ours(name, found.model): tensor for name, tensor in ours.state_dict().items()}


def unsettle(network: nn.Module) -> None:
    """Give every BatchNorm numbers of its own: those that they begin with are alike, and hide what is exchanged."""
    for layer in network.modules():
        if isinstance(layer, _BatchNorm):
            layer.weight.uniform_(0.5, 1.5)
            layer.bias.normal_(std=0.1)
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 1.5)


def scores(network: nn.Module, image: Tensor) -> Tensor:
    """Class scores (1, classes)."""
    found = network.eval()(image)
    return getattr(found, "logits", found)


def _bound(given: Tensor, expected: Tensor, found: Account, size: str) -> str:
    difference = (given - expected).abs().max().item()
    if not (difference <= TOLERANCE and expected.std() > 1e-2):
        return f"differs by {difference:.0e} (scores spread by {expected.std():.0e})"
    return f"{BOUND}, as {CUSTOM}" if found.model.size == CUSTOM else BOUND if found.model.size == size else "misnamed"


def table(cells: dict[tuple[str, str], Cell]) -> str:
    """The matrix in Markdown."""
    lines = ["| size | " + " | ".join(f"{name} → ours | ours → {name}" for name in LIBRARIES) + " |"]
    lines.append("|---|" + "---|" * 2 * len(LIBRARIES))
    for size in [*SMALL, *LARGE]:
        row = [text for library in LIBRARIES for text in cells[size, library]]
        lines.append(f"| {size} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def read(page: str) -> dict[tuple[str, str], Cell]:
    """The cells of the table on a page."""
    lines = page.split(BEGIN)[1].split(END)[0].strip().splitlines()
    rows = [[text.strip() for text in line.strip("|\n").split("|")] for line in lines[2:]]
    return {
        (size, library): Cell(*texts[2 * number : 2 * number + 2])
        for size, *texts in rows
        for number, library in enumerate(LIBRARIES)
    }


def written(page: str, cells: dict[tuple[str, str], Cell]) -> str:
    """The page with this table."""
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    return f"{before}{BEGIN}\n{table(cells)}\n{END}{after}"


def main(arguments: list[str]) -> int:
    cells = {}
    for size in [*SMALL, *LARGE]:
        for library in LIBRARIES:
            cells[size, library] = cell(size, library)
            print(size, library, *cells[size, library], sep="  ", flush=True)
    page = PAGE.read_text(encoding="utf-8")
    new = written(page, cells)
    if "--check" in arguments:
        print("current" if new == page else f"{PAGE} is not current. Next: python -m tests.parity")
        return int(new != page)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
