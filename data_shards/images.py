"""Encoded images: look at one, judge it, decode it.

Every format ends as the same thing, an upright uint8 RGB array (height, width, 3):

- JPEG in grey or RGB goes through simplejpeg, strictly, at 1/1, 1/2, 1/4 or 1/8 of its size (scaled inside the DCT);
- everything else goes through Pillow, and of an animation its first frame. CMYK is converted without its profile,
  16 bits keep their upper 8, palettes are looked up, and transparency is laid over white;
- the EXIF orientation is applied last.

What cannot be used raises `ImageError` with one of `REASONS`. The formats are a closed table: nothing else is parsed.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from data_shards.errors import ImageError
from data_shards.exif import orientation_in
from data_shards.jpeg import read_header

Pixels = NDArray[np.uint8]
Depth = Literal["header", "strict", "full"]

MAX_PIXELS = 89_478_485
"""Pixels of the largest image that is decoded (256 MiB as RGB, where Pillow suspects a decompression bomb)."""

REASONS = {
    "empty": "no bytes at all",
    "not_an_image": "the bytes of no format we know, such as a web page saved as .jpg",
    "unsupported_format": "an image, but AVIF, HEIC or of a pixel type that has no 8-bit meaning",
    "truncated": "the file ends before the image does",
    "damaged": "the decoder found contradictions",
    "too_many_pixels": "larger than the pixel limit",
}
"""Every reason an `ImageError` from this module can carry, and what it means."""

# Pillow's plug-ins are called directly: `Image.open` tries forty formats, and warns about sizes on its own.
_PLUGINS: dict[str, tuple[Callable[[bytes], bool], Any]] = {
    "jpeg": (lambda head: head[:3] == b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
    "png": (lambda head: head[:8] == b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    "webp": (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", WebPImagePlugin.WebPImageFile),
    "gif": (lambda head: head[:6] in (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
    "bmp": (lambda head: head[:2] == b"BM", BmpImagePlugin.BmpImageFile),
    "tiff": (lambda head: head[:4] in (b"II*\0", b"MM\0*"), TiffImagePlugin.TiffImageFile),
}
_END_OF_JPEG = b"\xff\xd9"
EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp", "gif": "gif", "bmp": "bmp", "tiff": "tif"}
"""The extension a tar member of each format gets."""


class ImageInfo(NamedTuple):
    """What the header says. `width` and `height` are as stored; `orientation` is that of EXIF (1 to 8)."""

    format: str
    width: int
    height: int
    mode: str
    orientation: int = 1
    frames: int = 1
    progressive: bool = False

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width of what `decode` gives at scale 1."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def probe(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """What the header of an encoded image says; no pixel is decoded. Raises `ImageError`."""
    name = _format_of(data)
    if name == "jpeg":
        header = read_header(data)
        info = ImageInfo(
            name,
            header.width,
            header.height,
            {1: "L", 3: "RGB", 4: "CMYK"}.get(header.components, "?"),
            header.orientation,
            1,
            header.progressive,
        )
    else:
        info = _info(name, _open(name, data))
    _check_size(info.width, info.height, max_pixels)
    return info


def size(data: bytes) -> tuple[int, int]:
    """Height and width of the upright image, as `decode` gives it at scale 1. Raises `ImageError`."""
    return probe(data).upright


def check(data: bytes, depth: Depth = "strict", max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Judge an image and give its header. Raises `ImageError`.

    `header` reads the header and, of a JPEG, looks for its end; `strict` also decodes, a JPEG at 1/8 scale, which finds
    the damage that a full decode finds at 63 % of its cost; `full` decodes every pixel.
    """
    assert depth in get_args(Depth), depth
    info = probe(data, max_pixels)
    if info.format == "jpeg" and data[-2:] != _END_OF_JPEG and data.rfind(_END_OF_JPEG) < read_header(data).scan:
        # The marker cannot occur inside the coded data, and that of a thumbnail lies before them.
        raise ImageError("truncated", "no end-of-image marker")
    if depth != "header":
        decode(data, scale=8 if depth == "strict" else 1, info=info, max_pixels=max_pixels)
    return info


def decode(
    data: bytes,
    *,
    scale: Literal[1, 2, 4, 8] = 1,
    info: ImageInfo | None = None,
    buffer: NDArray[np.uint8] | bytearray | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Pixels:
    """Upright RGB pixels, uint8 (height, width, 3), C-contiguous. Raises `ImageError`.

    A JPEG in grey or RGB comes at 1/`scale` of its size, rounded up; other images ignore `scale`. `info` saves a second
    look at the header where `probe` was called before. `buffer` may hold the result of a JPEG: the array is then a view
    of it, valid until the buffer is used again. One that is too small is not used.
    """
    if info is None:
        info = probe(data, max_pixels)
    if info.format == "jpeg" and info.mode in ("L", "RGB"):
        pixels = _decode_jpeg(data, info, scale, buffer)
    else:
        pixels = _decode_with_pillow(data, info)
    return _turn(pixels, info.orientation)


def encode_jpeg(pixels: Pixels, quality: int = 95) -> bytes:
    """A JPEG of uint8 RGB pixels (height, width, 3), without subsampling of colour."""
    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality, colorsubsampling="444")
    return data


def encode_png(pixels: Pixels) -> bytes:
    """A lossless PNG of uint8 pixels (height, width, 3) or (height, width)."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _format_of(data: bytes) -> str:
    head = bytes(data[:16])
    for name, (matches, _) in _PLUGINS.items():
        if matches(head):
            return name
    if not head:
        raise ImageError("empty")
    if head[4:8] == b"ftyp":
        raise ImageError("unsupported_format", head[8:12].decode("latin-1"))
    raise ImageError("not_an_image", f"begins with {head[:8]!r}")


def _open(name: str, data: bytes) -> Image.Image:
    try:
        image: Image.Image = _PLUGINS[name][1](io.BytesIO(data))
        return image
    except MemoryError:
        raise
    except Exception as error:  # plug-ins raise SyntaxError, struct.error, IndexError and more on bad bytes
        raise _image_error(error) from error


def _info(name: str, image: Image.Image) -> ImageInfo:
    try:
        frames = int(getattr(image, "n_frames", 1))
        # Pillow turns a TIFF upright by itself, in its size and in its pixels.
        orientation = 1 if name == "tiff" else orientation_in(image.info.get("exif") or b"")
        return ImageInfo(name, image.width, image.height, image.mode, orientation, frames)
    except MemoryError:
        raise
    except Exception as error:  # counting frames reads on through the file
        raise _image_error(error) from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError("damaged", f"{width}×{height} pixels")
    if width * height > max_pixels:
        raise ImageError("too_many_pixels", f"{width}×{height}, the limit is {max_pixels}")


def _decode_jpeg(data: bytes, info: ImageInfo, scale: int, buffer: Any) -> Pixels:
    # Both minima are needed: min_factor alone lets the decoder go down to 1/8 and say nothing.
    height, width = -(-info.height // scale), -(-info.width // scale)
    if buffer is not None and memoryview(buffer).nbytes < height * width * 3:
        buffer = None
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=height, min_width=width, min_factor=scale, buffer=buffer, strict=True
        )
    except ValueError as error:
        raise _image_error(error) from error
    return pixels


def _decode_with_pillow(data: bytes, info: ImageInfo) -> Pixels:
    image = _open(info.format, data)
    try:
        if image.mode.startswith("I;16"):
            grey = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
            return np.ascontiguousarray(np.broadcast_to(grey[..., None], (*grey.shape, 3)))
        if image.mode in ("I", "F"):
            raise ImageError("unsupported_format", f"pixels of type {image.mode}")
        if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))
    except (MemoryError, ImageError):
        raise
    except Exception as error:
        raise _image_error(error) from error


def _image_error(error: Exception) -> ImageError:
    if isinstance(error, ImageError):
        return error
    text = str(error)
    cut = any(word in text.lower() for word in ("premature end", "truncated", "not enough", "unexpected end", "eof"))
    return ImageError("truncated" if cut or isinstance(error, EOFError) else "damaged", text[:200])


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
