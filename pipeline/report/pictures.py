"""The pictures of a run, as part of the page: crops as the network saw them, prototypes by their nearest images."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

from data_shards.markup import Html, tag
from pipeline.report.read import KnownRun
from pipeline.report.wording import size

LARGEST = 24_000_000
"""Bytes of a picture beyond which the page names it instead of carrying it."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PICTURES = {
    "crops.png": (
        "Crops",
        "Each row is one photograph: its large crops, then its small ones, as drawn in the first epoch.",
    ),
    "prototypes.png": (
        "Prototypes",
        "Each row is one prototype: the images nearest to it, best first. Nobody told the network what they show.",
    ),
}


def pictures(run: KnownRun) -> Html | None:
    """The pictures that the run directory has; None where it has none."""
    found = [_figure(run.path / name, *words) for name, words in _PICTURES.items() if (run.path / name).is_file()]
    return tag("div", *found, class_="pictures") if found else None


def _figure(path: Path, title: str, says: str) -> Html:
    caption = tag("figcaption", tag("strong", title), tag("p", says))
    return tag("figure", caption, _embedded(path, f"{title}. {says}"), class_="picture")


def _embedded(path: Path, text: str) -> Html:
    try:
        amount = path.stat().st_size
        if amount > LARGEST:
            return tag("p", f"{path} has {size(amount)}, too much for a page.", class_="notice")
        data = path.read_bytes()
        width, height = _dimensions(data)
    except (OSError, ValueError):
        return tag("p", f"{path} is damaged and cannot be shown.", class_="notice")
    # Small crops are shown enlarged, pixel by pixel: that is all the network gets to see.
    factor = max(1, min(4, 400 // width))
    source = f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
    return tag(
        "img",
        src=source,
        alt=text,
        width=width * factor,
        height=height * factor,
        class_="pixels" if factor > 1 else None,
    )


def _dimensions(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG that is whole from signature to end."""
    if png[:8] != _SIGNATURE or png[12:16] != b"IHDR" or b"IEND" not in png[-12:]:
        raise ValueError("not a whole PNG")
    width, height = struct.unpack(">II", png[16:24])
    if not width or not height:
        raise ValueError("an empty PNG")
    return width, height
