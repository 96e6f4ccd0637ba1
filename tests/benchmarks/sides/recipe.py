"""The crops that every side makes of an image, and the files they make them of.

Boxes as RandomResizedCrop draws them, mirrored half the time; with probability 0.8 brightness, contrast and saturation
by 0.2 to 1.8 and hue by ±0.2 in a random order; grey with 0.2; blurred with 0.5 by a sigma of 0.1 to 2 pixels.
"""

from __future__ import annotations

from pathlib import Path

CROPS = {
    "seer": ((160, 2, (0.14, 1.0)), (96, 4, (0.05, 0.14))),
    "swav": ((224, 2, (0.14, 1.0)), (96, 6, (0.05, 0.14))),
}
"""(side in pixels, crops an image, share of the image) of each kind."""
FLIP, JITTER, STRENGTH, HUE, GREY, BLUR, SIGMA = 0.5, 0.8, 0.8, 0.2, 0.2, 0.5, (0.1, 2.0)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 32

_READ: dict[str, list[bytes]] = {}


def load(source: str) -> int:
    """Bring the files of a folder into memory; gives how many."""
    _READ[source] = [path.read_bytes() for path in files(source)]
    return len(_READ[source])


def loaded(source: str) -> list[bytes]:
    """What `load` has read."""
    return _READ[source]


def files(source: str) -> list[Path]:
    """The files of a folder, in the order of their names."""
    return sorted(path for path in Path(source).rglob("*") if path.is_file())
