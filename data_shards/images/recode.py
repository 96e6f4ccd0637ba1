"""A progressive JPEG coded anew as a sequential one: other bytes, the same coefficients and so the same pixels.

libjpeg-turbo does it (`tj3Transform`, what `jpegtran -copy all -optimize` does), through the package `turbojpeg`, which
brings the library along. Metadata are kept, orientation among them; what lies behind the image goes. The result is
decoded and compared with the original, and where anything differs the original stays.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import simplejpeg

from data_shards.errors import UserError
from data_shards.images import Pixels, probe


def require(where: str) -> None:
    """Raise `UserError` where recoding cannot be done on this machine. `where` names the setting that asks for it."""
    if importlib.util.find_spec("turbojpeg") is None:
        raise UserError(
            where,
            "recoding needs the package turbojpeg, which is not installed",
            "install it, or keep progressive JPEGs as they are",
            "pip install turbojpeg",
        )


def to_sequential(data: bytes) -> bytes | None:
    """The JPEG with sequential coding and optimal tables, or None where that does not give the very same pixels."""
    import turbojpeg  # an extra: only who asks for recoding needs it

    try:
        recoded: bytes = turbojpeg.transform(data, optimize=True)
        before, after = probe(data), probe(recoded)
        if after.orientation != before.orientation or "progressive" in after.traits:
            return None
        return recoded if np.array_equal(_decoded(data), _decoded(recoded)) else None
    except (RuntimeError, ValueError):  # ImageError is a ValueError
        return None


def _decoded(data: bytes) -> Pixels:
    pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    return pixels
