"""The one thing we need from EXIF: which way up an image is."""

from __future__ import annotations

import struct

_ORIENTATION, _SHORT, _LONG = 0x0112, 3, 4


def orientation_in(exif: bytes) -> int:
    """The orientation (1 to 8) that a block of EXIF gives, or 1 where it gives none or cannot be read.

    `exif` is a TIFF header with its first directory, with or without `Exif\\0\\0` before it. The second directory is
    the thumbnail's: what it says about itself does not count.
    """
    if exif[:6] == b"Exif\0\0":
        exif = exif[6:]
    order = {b"II": "<", b"MM": ">"}.get(bytes(exif[:2]))
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * min(entries, 256), 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, entry)
            if tag == _ORIENTATION and kind in (_SHORT, _LONG):
                if kind == _LONG:
                    (value,) = struct.unpack_from(order + "I", exif, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
