"""Which RegNet a set of tensors is, from their shapes alone.

Widths, depths, groups and squeeze-and-excitation can be read off. A stride of 1 shows only where a stage has no
shortcut convolution, and the kind of stem not at all: both are taken to be those of the named sizes. A network that
equals a named size gets its name, any other is `custom`; so SEER's RG-256 (last stage 10444 wide) and ClassyVision's
network of the same name (5088) are told apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from pipeline.errors import ArtifactError
from pipeline.models.regnet import CUSTOM, RegNet, Stages
from pipeline.models.sizes import SIZES, SQUEEZE
from pipeline.released.layouts import BACKBONE

Shapes = Mapping[str, Sequence[int]]
"""Shape of each tensor by its name."""

_SQUEEZE = re.compile(re.escape(BACKBONE) + r"s(\d+)\.b(\d+)\.f\.se\.f_ex\.0\.weight")

ELSEWHERE: Mapping[str, RegNet.Config] = {
    "torchvision's regnet_x_400mf": RegNet.Config(
        size=CUSTOM, widths=(32, 64, 160, 400), depths=(1, 2, 7, 12), group_width=16, squeeze=0.0
    ),
    "torchvision's regnet_y_800mf": RegNet.Config(
        size=CUSTOM, widths=(64, 144, 320, 784), depths=(1, 3, 8, 2), group_width=16, squeeze=SQUEEZE
    ),
    "torchvision's regnet_y_8gf": RegNet.Config(
        size=CUSTOM, widths=(224, 448, 896, 2016), depths=(2, 4, 10, 1), group_width=56, squeeze=SQUEEZE
    ),
    "ClassyVision's regnet_y_256gf": RegNet.Config(
        size=CUSTOM, widths=(640, 1696, 2544, 5088), depths=(3, 7, 16, 1), group_width=848, squeeze=SQUEEZE
    ),
}
"""Networks that bear the name of a size elsewhere and are another; to us they are custom."""


def architecture(shapes: Shapes, where: str) -> RegNet.Config:
    """The RegNet whose tensors, under our names, have these shapes.

    Raises `ArtifactError` if they make no RegNet. Shapes of layers that say nothing of the architecture are not looked
    at: `accounting.account` compares every one.
    """
    blocks: dict[int, set[int]] = {}
    for name in shapes:
        if match := re.match(rf"{BACKBONE}s(\d+)\.b(\d+)\.", name):
            blocks.setdefault(int(match[1]), set()).add(int(match[2]))
    if not blocks or max(blocks) != len(blocks):
        raise ArtifactError(where, f"holds stages {sorted(blocks)}", "the stages of a RegNet count from 1 without gaps")
    depths = [len(blocks[stage]) for stage in sorted(blocks)]
    for stage, depth in enumerate(depths, 1):
        if max(blocks[stage]) != depth:
            raise ArtifactError(
                where, f"holds blocks {sorted(blocks[stage])} of stage {stage}", "they would count from 1 without gaps"
            )

    def size(name: str, axis: int) -> int:
        shape = shapes.get(BACKBONE + name)
        if shape is None or len(shape) <= axis or shape[axis] < 1:
            given = f"has {name} {tuple(shape)}" if shape is not None else f"has no {name}"
            raise ArtifactError(where, given, f"its axis {axis} says what the network is")
        return shape[axis]

    first = [f"s{stage}.b1." for stage in sorted(blocks)]
    stem = size("stem.conv.weight", 0)
    widths = [size(block + "f.c.weight", 0) for block in first]
    strides = tuple(2 if f"{BACKBONE}{block}proj.weight" in shapes else 1 for block in first)
    groups = [size(block + "f.b.weight", 1) for block in first]
    inputs = [stem, *widths]
    pairs = [
        (shape[0], inputs[int(match[1]) - (match[2] == "1")])
        for name, shape in shapes.items()
        if (match := _SQUEEZE.fullmatch(name)) and shape and shape[0] > 0
    ]
    found = Stages(widths, depths, groups, _squeeze(pairs))
    named = named_size(found)
    if named is not None:
        return RegNet.Config(size=named, stem_width=stem, strides=strides)
    try:
        return RegNet.Config(
            size=CUSTOM,
            stem_width=stem,
            strides=strides,
            widths=tuple(widths),
            depths=tuple(depths),
            group_width=max(groups),
            squeeze=found.squeeze,
        )
    except ValueError as error:
        raise ArtifactError(where, f"is no RegNet: {error}", "name a file that holds one") from None


def named_size(stages: Stages) -> str | None:
    """The size with these widths and depths; None for a network without a name. Of two names, the one that is no alias:
    `regnety_32gf`, not `seer_rg32`."""
    return next((name for name, named in _named().items() if named == stages), None)


def tell(model: RegNet.Config) -> str:
    """A network in words: its size where it has a name, else what makes it up and who calls it what."""
    if model.size != CUSTOM:
        return model.size
    stages = model.stages()
    numbers = f"widths {stages.widths}, depths {stages.depths}, group widths {stages.group_widths}"
    alias = elsewhere(model)
    return f"custom ({alias}: {numbers})" if alias else f"custom ({numbers})"


def elsewhere(model: RegNet.Config) -> str | None:
    """Who gives this custom network the name of a size, and which; None if nobody known does."""
    return next((name for name, other in ELSEWHERE.items() if other.stages() == model.stages()), None)


def _squeeze(pairs: Sequence[tuple[int, int]]) -> float:
    """The ratio of squeeze-and-excitation, 0 without; `pairs` are its width and the block's input width in each block.

    pycls rounds the product of input width and ratio, so every pair allows a range. Of a few candidates it is the
    roundest that fits most: where one tensor is odd, the account then names that one, not all the others.
    """
    if not pairs:
        return 0.0
    lowest = max((inside - 0.5) / given for inside, given in pairs)
    highest = min((inside + 0.5) / given for inside, given in pairs)
    candidates = [SQUEEZE, *(round((lowest + highest) / 2, digits) for digits in range(1, 9))]
    return max(candidates, key=lambda ratio: sum(round(given * ratio) == inside for inside, given in pairs))


@cache
def _named() -> dict[str, Stages]:
    """What every size is made of, in the order of `SIZES`, where aliases come last."""
    return {name: RegNet.Config(size=name).stages() for name in SIZES}
