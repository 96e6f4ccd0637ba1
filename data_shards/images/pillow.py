"""Pillow, for every image that simplejpeg does not read: its plug-ins called directly, and kept quiet.

- `Image.open` tries forty formats, and warns about sizes on its own; here the format is known and the size is checked.
- On bad bytes a plug-in raises SyntaxError, struct.error, IndexError and more: all become `ImageError`.
- Pillow warns about metadata, it logs and libtiff writes about damage. None of it is news: what cannot be decoded is
  named by its reason, and what can is decoded. Warning filters belong to the process, not to a thread, so Pillow's
  two plug-ins that warn get something else to call.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    _imaging,
)

from data_shards.errors import ImageError

PLUGINS: dict[str, Any] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}
ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
"""Pillow's modes that have a channel of transparency."""

_CUT = ("premature end", "truncated", "not enough", "unexpected end", "eof")
_BITS_PER_SAMPLE = 258  # a tag of TIFF


class _Unheard:
    """Takes the place of `warnings` in a plug-in."""

    @staticmethod
    def warn(*_: object, **__: object) -> None:
        """Say nothing."""


for _plugin in (PngImagePlugin, TiffImagePlugin):
    _plugin.__dict__["warnings"] = _Unheard
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit is ours, and checked before
logging.getLogger(TiffImagePlugin.__name__).setLevel(logging.CRITICAL)
with contextlib.suppress(OSError, AttributeError):  # a Pillow without libtiff, or with one that cannot be reached
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def open_image(format: str, data: bytes) -> Image.Image:
    """The image with its header read and no pixel decoded. Raises `ImageError`."""
    try:
        image: Image.Image = PLUGINS[format](io.BytesIO(data))
        return image
    except MemoryError:
        raise
    except Exception as error:
        raise image_error(error) from error


def decode(format: str, data: bytes, scale: Literal[1, 2, 4, 8] = 1) -> NDArray[np.uint8]:
    """RGB pixels as stored, not turned by EXIF; only a JPEG heeds `scale`. Raises `ImageError`."""
    image = open_image(format, data)
    try:
        if format == "jpeg":
            image.draft(None, (-(-image.width // scale), -(-image.height // scale)))
        if image.mode.startswith("I;16"):
            used = 12 if format == "tiff" and _bits(image) == 12 else 16
            grey = (np.asarray(image).astype(np.uint16) >> (used - 8)).astype(np.uint8)
            return np.ascontiguousarray(np.broadcast_to(grey[..., None], (*grey.shape, 3)))
        if image.mode in ALPHA or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))
    except (MemoryError, ImageError):
        raise
    except Exception as error:
        raise image_error(error) from error


def sixteen_bits(format: str, image: Image.Image, data: bytes) -> bool:
    """Whether the samples have more than 8 bits, which Pillow's mode does not tell of colours."""
    if image.mode.startswith("I;16"):
        return True
    return (format == "png" and data[24] == 16) or (format == "tiff" and _bits(image) > 8)


def tiff_orientation(image: Image.Image) -> int:
    """The orientation (1 to 8) that a TIFF gives."""
    value = image.tag_v2.get(0x0112, 1)  # type: ignore[attr-defined]
    return value if value in range(1, 9) else 1


def image_error(error: Exception) -> ImageError:
    """The `ImageError` for what a decoder raised."""
    if isinstance(error, ImageError):
        return error
    text = str(error)
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return ImageError("too_many_pixels", text[:200])
    cut = any(words in text.lower() for words in _CUT)
    return ImageError("truncated" if cut or isinstance(error, EOFError) else "damaged", text[:200])


def _bits(image: Image.Image) -> int:
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
    return max(bits) if isinstance(bits, tuple) else int(bits)
