"""The header of a JPEG, read by walking its segments.

simplejpeg gives the size; this also gives what it does not: orientation, progressive or not, and where the coded data
begin. A walk over the few segments before the first scan takes some microseconds.
"""

from __future__ import annotations

from typing import NamedTuple

from data_shards.errors import ImageError
from data_shards.exif import orientation_in

_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start-of-frame markers; the three are tables and extensions
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_APP1, _SOS, _EOI = 0xE1, 0xDA, 0xD9


class JpegHeader(NamedTuple):
    """Size as stored, number of colour components (1 grey, 3 RGB, 4 CMYK), and the offset of the first scan."""

    width: int
    height: int
    components: int
    orientation: int
    progressive: bool
    scan: int


def read_header(data: bytes) -> JpegHeader:
    """Header of a JPEG file. Raises `ImageError` where the segments break off before the first scan."""
    frame: tuple[int, int, int, bool] | None = None
    orientation, at, end = 1, 2, len(data)
    while at + 4 <= end:
        if data[at] != 0xFF:
            raise ImageError("damaged", f"no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _EOI:
            break
        length = data[at + 2] << 8 | data[at + 3]
        if marker in _FRAMES and at + 10 <= end and frame is None:
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            frame = width, height, data[at + 9], marker in _PROGRESSIVE
        elif marker == _SOS:
            if frame is None:
                raise ImageError("damaged", "a scan without a frame")
            return JpegHeader(*frame[:3], orientation, frame[3], at)
        elif marker == _APP1 and orientation == 1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = orientation_in(data[at + 10 : at + 2 + length])
        if length < 2:
            raise ImageError("damaged", f"a segment of {length} bytes")
        at += 2 + length
    raise ImageError("truncated", "ends inside the header")
