"""The named RegNets: pycls' zoo, and the larger ones that SEER trained.

A RegNet is four numbers and a group width (Radosavovic et al. 2020, eq. 2-4): block j of `depth` would be w_0 + w_a
j wide; that line is rounded to powers of w_m times w_0, and equal widths make a stage. RegNetY adds
squeeze-and-excitation.

Sources: pycls `configs/dds_baselines/regnet{x,y}/*.yaml`; above 32GF VISSL `configs/config/pretrain/swav/models/` and
`configs/config/pretrain/seer/models/regnet10B.yaml`. `regnety_256gf` is SEER's (last stage 10444 wide), not
ClassyVision's network of that name (5088).

timm's networks of these sizes are the same. torchvision's are too but for three, whose widths it rounds in another way:
regnet_x_400mf, regnet_y_800mf and regnet_y_8gf.
"""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

SQUEEZE = 0.25
"""Width of the squeeze-and-excitation bottleneck of RegNetY, per width of the block's input."""


class Design(NamedTuple):
    """The parameters of one RegNet."""

    depth: int
    w_0: int
    w_a: float
    w_m: float
    group_width: int
    squeeze: float = 0.0


_X = {
    "200mf": Design(13, 24, 36.44, 2.49, 8),
    "400mf": Design(22, 24, 24.48, 2.54, 16),
    "600mf": Design(16, 48, 36.97, 2.24, 24),
    "800mf": Design(16, 56, 35.73, 2.28, 16),
    "1.6gf": Design(18, 80, 34.01, 2.25, 24),
    "3.2gf": Design(25, 88, 26.31, 2.25, 48),
    "4gf": Design(23, 96, 38.65, 2.43, 40),
    "6.4gf": Design(17, 184, 60.83, 2.07, 56),
    "8gf": Design(23, 80, 49.56, 2.88, 120),
    "12gf": Design(19, 168, 73.36, 2.37, 112),
    "16gf": Design(22, 216, 55.59, 2.10, 128),
    "32gf": Design(23, 320, 69.86, 2.00, 168),
}

_Y = {
    "200mf": Design(13, 24, 36.44, 2.49, 8, SQUEEZE),
    "400mf": Design(16, 48, 27.89, 2.09, 8, SQUEEZE),
    "600mf": Design(15, 48, 32.54, 2.32, 16, SQUEEZE),
    "800mf": Design(14, 56, 38.84, 2.40, 16, SQUEEZE),
    "1.6gf": Design(27, 48, 20.71, 2.65, 24, SQUEEZE),
    "3.2gf": Design(21, 80, 42.63, 2.66, 24, SQUEEZE),
    "4gf": Design(22, 96, 31.41, 2.24, 64, SQUEEZE),
    "6.4gf": Design(25, 112, 33.22, 2.27, 72, SQUEEZE),
    "8gf": Design(17, 192, 76.82, 2.19, 56, SQUEEZE),
    "12gf": Design(19, 168, 73.36, 2.37, 112, SQUEEZE),
    "16gf": Design(18, 200, 106.23, 2.48, 112, SQUEEZE),
    "32gf": Design(20, 232, 115.89, 2.53, 232, SQUEEZE),
    "64gf": Design(20, 352, 147.48, 2.40, 328, SQUEEZE),
    "128gf": Design(27, 456, 160.83, 2.52, 264, SQUEEZE),
    "256gf": Design(27, 640, 230.83, 2.53, 373, SQUEEZE),
    "10b": Design(27, 1744, 620.83, 2.52, 1010, SQUEEZE),
}

_SEER = {
    "seer_rg8": "8gf",
    "seer_rg16": "16gf",
    "seer_rg32": "32gf",
    "seer_rg64": "64gf",
    "seer_rg128": "128gf",
    "seer_rg256": "256gf",
    "seer_10b": "10b",
}

SIZES: dict[str, Design] = {
    **{f"regnetx_{size}": design for size, design in _X.items()},
    **{f"regnety_{size}": design for size, design in _Y.items()},
    **{name: _Y[size] for name, size in _SEER.items()},
}
"""Every size that has a name."""


def design(size: str) -> Design:
    """The design of a named size. Raises ValueError with the nearest names, or with ours for another library's."""
    if size not in SIZES:
        ours = _here(size)
        near = [ours] if ours else difflib.get_close_matches(size.lower(), SIZES, 3, 0.7)
        known = f"did you mean {', '.join(near)}?" if near else f"known: custom, {', '.join(SIZES)}"
        raise ValueError(f"size {size!r} is unknown; {known}")
    return SIZES[size]


def _here(name: str) -> str | None:
    """Our name for timm's `regnety_032` (tenths of a billion multiply-adds) or torchvision's `regnet_y_3_2gf`."""
    if match := re.fullmatch(r"regnet([xy])_(\d{3,4})", name):
        tenths = int(match[2])
        size = f"{tenths * 100}mf" if tenths < 10 else f"{tenths / 10:g}gf"
    elif match := re.fullmatch(r"regnet_([xy])_(\d+(?:_\d)?[mg]f)", name):
        size = match[2].replace("_", ".")
    else:
        return None
    ours = f"regnet{match[1]}_{size}"
    return ours if ours in SIZES else None
