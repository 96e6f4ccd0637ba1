"""The header of a JPEG, read by walking its segments.

simplejpeg gives the size; this also gives what it does not: orientation, progressive or not, and where the coded data
begin. A walk over the few segments before the first scan takes some microseconds.

It also keeps from the decoder what the decoder must not get: libjpeg-turbo cannot scale a lossless JPEG and writes past
the end of the smaller array. So the walk refuses whatever it would read otherwise than libjpeg does.
"""

from __future__ import annotations

from typing import NamedTuple

from data_shards.errors import ImageError
from data_shards.images.exif import orientation_in

# Start-of-frame markers: C4, C8 and CC are tables and extensions.
_DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}  # baseline, extended, progressive, and these two with arithmetic coding
_PROGRESSIVE = {0xC2, 0xCA}
_OTHERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} - _DECODED  # lossless or hierarchical
_ALONE = {0x00, 0x01, *range(0xD0, 0xD9)}  # no segment follows: stuffing, TEM, restarts and another start
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
    """Header of a JPEG file of 8-bit samples.

    Raises `ImageError` for other kinds of JPEG, and where the segments break off before the first scan.
    """
    frame: tuple[int, int, int, bool] | None = None
    orientation, at, end = 0, 2, len(data)
    while at + 4 <= end:
        if data[at] != 0xFF:
            raise ImageError("damaged", f"no marker at byte {at}")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _EOI:
            break
        if marker in _ALONE:
            raise ImageError("damaged", f"a marker {marker:02X} in the header")
        length = data[at + 2] << 8 | data[at + 3]
        if marker in _OTHERS:
            raise ImageError("unsupported_format", f"a lossless or hierarchical JPEG (SOF{marker - 0xC0})")
        if marker in _DECODED and at + 10 <= end and frame is None:
            if data[at + 4] != 8:
                raise ImageError("unsupported_format", f"a JPEG of {data[at + 4]} bits")
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            if height == 0 and width:
                raise ImageError("unsupported_format", "a JPEG whose height comes after its first scan (DNL)")
            frame = width, height, data[at + 9], marker in _PROGRESSIVE
        elif marker == _SOS:
            if frame is None:
                raise ImageError("damaged", "a scan without a frame")
            return JpegHeader(*frame[:3], orientation or 1, frame[3], at)
        elif marker == _APP1 and not orientation and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = orientation_in(data[at + 10 : at + 2 + length])
        if length < 2:
            raise ImageError("damaged", f"a segment of {length} bytes")
        at += 2 + length
    raise ImageError("truncated", "ends inside the header")
