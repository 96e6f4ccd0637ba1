"""Encoded images: look at one, judge it, decode it.

Every image ends as the same thing, an upright uint8 RGB array (height, width, 3). What is special about it is a trait,
counted in the manifest; what cannot be used raises `ImageError` with a reason, counted too.

    what is found                        what `decode` gives                                     counted as
    JPEG, RGB or grey                    its pixels at 1/1, 1/2, 1/4 or 1/8 of its size          (grey: grey)
    JPEG, progressive                    the same, for three times the work                      progressive
    JPEG, arithmetic coding              the same                                                as any JPEG
    JPEG, CMYK or YCCK                   inverted inks, as Adobe writes them: red = C·K and      cmyk
                                         so on, without a profile; scaled like any JPEG
    JPEG, unusual subsampling            the same through Pillow, which forgives some damage     as any JPEG
    JPEG, then other bytes or images     the first image (MPO, depth maps, trailing garbage)     as any JPEG
    JPEG, lossless, hierarchical,        nothing                                                 unsupported_format
      12-bit, or of unknown height (DNL)
    PNG, WebP, BMP, TIFF, GIF            its pixels in full; interlaced or not                   as below
    animated WebP, PNG, GIF, TIFF pages  the first frame (or, by choice, rejected)               animated
    palette                              the colours looked up                                   palette
    16 bits (12 in a TIFF)               the upper 8                                             16-bit
    transparency                         laid over white                                         alpha
    1-bit, grey, grey with alpha         three equal channels                                    grey
    EXIF orientation                     turned upright; the thumbnail's, XMP's and absurd       rotated
                                         ones do not count
    ICC profile                          not applied                                             nothing
    floats, 32-bit integers, LAB         nothing                                                 unsupported_format
    AVIF, HEIC, JPEG XL, Photoshop …     nothing                                                 unsupported_format
    no bytes                             nothing                                                 empty
    other bytes                          nothing                                                 not_an_image
    more pixels than the limit           nothing: the header is all that is read                 too_many_pixels
    a file that ends early               nothing                                                 truncated
    contradictions, zero width           nothing                                                 damaged
    damage behind the pixels             its pixels                                              as if whole
"""

from __future__ import annotations

import io
from typing import Any, Literal, get_args

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from data_shards.errors import ImageError
from data_shards.images import pillow
from data_shards.images.formats import EXTENSIONS, MAX_PIXELS, REASONS, TRAITS, ImageInfo, probe
from data_shards.images.jpeg import read_header

__all__ = ["EXTENSIONS", "MAX_PIXELS", "REASONS", "TRAITS", "ImageInfo", "Pixels", "Probe", "Scale"]
__all__ += ["check", "decode", "encode_jpeg", "encode_png", "judge", "probe", "size"]

Pixels = NDArray[np.uint8]
Probe = Literal["header", "strict", "full"]
"""How closely an image is looked at."""
Scale = Literal[1, 2, 4, 8]

_END_OF_JPEG = b"\xff\xd9"


def size(data: bytes) -> tuple[int, int]:
    """Height and width of the upright image, as `decode` gives it at scale 1. Raises `ImageError`."""
    return probe(data).upright


def check(data: bytes, depth: Probe = "strict", max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Judge an image and give its header. Raises `ImageError`.

    `header` reads the header and, of a JPEG, looks for its end; `strict` also decodes, a JPEG at 1/8 scale, which finds
    the damage that a full decode finds at 63 % of its cost; `full` decodes every pixel.
    """
    return judge(data, depth, max_pixels)[0]


def judge(data: bytes, depth: Probe = "strict", max_pixels: int = MAX_PIXELS) -> tuple[ImageInfo, Pixels | None]:
    """As `check`, with the pixels that were decoded on the way: a JPEG's at 1/8 where `strict`. Raises `ImageError`."""
    assert depth in get_args(Probe), depth
    info = probe(data, max_pixels)
    if info.format == "jpeg" and data[-2:] != _END_OF_JPEG and data.rfind(_END_OF_JPEG) < read_header(data).scan:
        # The marker cannot occur inside the coded data, and that of a thumbnail lies before them.
        raise ImageError("truncated", "no end-of-image marker")
    if depth == "header":
        return info, None
    return info, decode(data, scale=8 if depth == "strict" else 1, info=info)


def decode(
    data: bytes,
    *,
    scale: Scale = 1,
    info: ImageInfo | None = None,
    buffer: NDArray[np.uint8] | bytearray | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Pixels:
    """Upright RGB pixels, uint8 (height, width, 3), C-contiguous. Raises `ImageError`.

    A JPEG comes at 1/`scale` of its size, rounded up; other images ignore `scale`. `info` saves a second look at the
    header where `probe` was called before. `buffer` may hold the result of a JPEG: the array is then a view of it,
    valid until the buffer is used again. One that is too small is not used.
    """
    if info is None:
        info = probe(data, max_pixels)
    jpeg = info.format == "jpeg"
    pixels = _decode_jpeg(data, info, scale, buffer) if jpeg else pillow.decode(info.format, data)
    factor = scale if jpeg else 1
    height, width = -(-info.height // factor), -(-info.width // factor)
    if pixels.shape != (height, width, 3):
        raise ImageError("damaged", f"the header says {height}×{width}, the decoder gives {pixels.shape}")
    return _turn(pixels, info.orientation)


def encode_jpeg(pixels: Pixels, quality: int = 95, subsampling: Literal["444", "420"] = "444") -> bytes:
    """A JPEG of uint8 RGB pixels (height, width, 3); by default without subsampling of colour."""
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality, colorsubsampling=subsampling)
    return data


def encode_png(pixels: Pixels) -> bytes:
    """A lossless PNG of uint8 pixels (height, width, 3) or (height, width)."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _decode_jpeg(data: bytes, info: ImageInfo, scale: Scale, buffer: Any) -> Pixels:
    # Both minima are needed: min_factor alone lets the decoder go down to 1/8 and say nothing.
    height, width = -(-info.height // scale), -(-info.width // scale)
    if buffer is not None and memoryview(buffer).nbytes < height * width * 3:
        buffer = None
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=height, min_width=width, min_factor=scale, buffer=buffer, strict=True
        )
    except ValueError as error:
        if "subsampling" in str(error):  # TurboJPEG knows the usual ones only, libjpeg below it knows all
            return pillow.decode("jpeg", data, scale)
        raise pillow.image_error(error) from error
    return pixels


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Bring stored pixels upright (EXIF 2.32, tag 274)."""
    if orientation == 1:
        return pixels
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
