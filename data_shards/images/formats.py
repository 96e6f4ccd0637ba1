"""What the header of an encoded image says: format, size, which way up, and what is special about it.

The formats are a closed table, told by their first bytes and never by a name; nothing else is parsed. No pixel is
decoded, and the size is checked before any decoder sees the file, so a decompression bomb costs its header.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from data_shards.errors import ImageError
from data_shards.images.exif import orientation_in
from data_shards.images.jpeg import read_header
from data_shards.images.pillow import ALPHA, image_error, open_image, sixteen_bits, tiff_orientation

MAX_PIXELS = 89_478_485
"""Pixels of the largest image that is decoded (256 MiB as RGB, where Pillow suspects a decompression bomb)."""

REASONS = {
    "empty": "no bytes at all",
    "not_an_image": "the bytes of no format we know, such as a web page saved as .jpg",
    "unsupported_format": "an image, but AVIF, HEIC, lossless or 12-bit JPEG, or of pixels that have no 8-bit meaning",
    "truncated": "the file ends before the image does",
    "damaged": "the decoder found contradictions",
    "too_many_pixels": "larger than the pixel limit",
    "animated": "more than one frame or page, where the recipe rejects these",
}
"""Every reason an `ImageError` about an image can carry, and what it means."""

TRAITS = {
    "progressive": "a JPEG in several passes, which takes three times as long to decode",
    "animated": "more than one frame or page",
    "cmyk": "inks instead of colours: CMYK or YCCK",
    "palette": "pixels are numbers of a table of colours",
    "16-bit": "more than 8 bits a channel",
    "alpha": "has transparency",
    "grey": "has no colours",
    "rotated": "EXIF says it is stored on its side, upside down or mirrored",
}
"""Every trait an `ImageInfo` can have, and what it means."""

EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp", "gif": "gif", "bmp": "bmp", "tiff": "tif"}
"""The extension a tar member of each format gets."""

_MATCHES: dict[str, Callable[[bytes], bool]] = {
    "jpeg": lambda head: head[:3] == b"\xff\xd8\xff",
    "png": lambda head: head[:8] == b"\x89PNG\r\n\x1a\n",
    "webp": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    "gif": lambda head: head[:6] in (b"GIF87a", b"GIF89a"),
    "bmp": lambda head: head[:2] == b"BM",
    "tiff": lambda head: head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
_UNSUPPORTED = {
    b"\xff\n": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"8BPS": "Photoshop",
}
_HEIF = ("avif", "avis", "heic", "heix", "hevc", "mif1", "msf1")
_MODES = {*ALPHA, "1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L", "I;16N"}
_GREY = ("1", "L", "LA", "La")


class ImageInfo(NamedTuple):
    """What the header says. `width` and `height` are as stored; `orientation` is that of EXIF (1 to 8), and 1 for a
    TIFF, which Pillow turns by itself. `mode` is Pillow's word for the kind of pixels; `traits` are among `TRAITS`."""

    format: str
    width: int
    height: int
    mode: str
    orientation: int = 1
    traits: tuple[str, ...] = ()

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width of what `images.decode` gives at scale 1."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def probe(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """What the header of an encoded image says; no pixel is decoded. Raises `ImageError`."""
    name = _format_of(data)
    return _jpeg(data, max_pixels) if name == "jpeg" else _other(name, data, max_pixels)


def _format_of(data: bytes) -> str:
    head = bytes(data[:16])
    for name, matches in _MATCHES.items():
        if matches(head):
            return name
    if not head:
        raise ImageError("empty")
    for start, name in _UNSUPPORTED.items():
        if head.startswith(start):
            raise ImageError("unsupported_format", name)
    brand = head[8:12].decode("latin-1")
    if head[4:8] == b"ftyp" and brand in _HEIF:
        raise ImageError("unsupported_format", brand.upper())
    raise ImageError("not_an_image", f"begins with {head[:8]!r}")


def _jpeg(data: bytes, max_pixels: int) -> ImageInfo:
    header = read_header(data)
    _check_size(header.width, header.height, max_pixels)
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(header.components)
    if mode is None:
        raise ImageError("unsupported_format", f"a JPEG of {header.components} components")
    if not (header.progressive or header.orientation != 1 or mode != "RGB"):
        return ImageInfo("jpeg", header.width, header.height, mode)
    traits = {
        "progressive": header.progressive,
        "cmyk": mode == "CMYK",
        "grey": mode == "L",
        "rotated": header.orientation != 1,
    }
    return ImageInfo("jpeg", header.width, header.height, mode, header.orientation, _those(traits))


def _other(name: str, data: bytes, max_pixels: int) -> ImageInfo:
    frames = 1
    if name == "webp":
        _check_size(*_webp_canvas(data), max_pixels)
    elif name == "gif":
        width, height, frames = _gif_canvas(data)
        _check_size(width, height, max_pixels)
    image = open_image(name, data)
    _check_size(image.width, image.height, max_pixels)
    if image.mode not in _MODES:
        raise ImageError("unsupported_format", f"pixels of type {image.mode}")
    try:
        # Pillow turns a TIFF upright by itself, in its size and in its pixels.
        rotation = tiff_orientation(image) if name == "tiff" else orientation_in(image.info.get("exif") or b"")
        traits = {
            "animated": frames > 1 if name == "gif" else bool(getattr(image, "is_animated", False)),
            "cmyk": image.mode == "CMYK",
            "palette": image.mode in ("P", "PA"),
            "16-bit": sixteen_bits(name, image, data),
            "alpha": image.mode in ALPHA or "transparency" in image.info,
            "grey": image.mode in _GREY or image.mode.startswith("I;16"),
            "rotated": rotation != 1,
        }
    except MemoryError:
        raise
    except Exception as error:  # a directory of a TIFF is parsed when it is asked for
        raise image_error(error) from error
    orientation = 1 if name == "tiff" else rotation
    return ImageInfo(name, image.width, image.height, image.mode, orientation, _those(traits))


def _those(traits: dict[str, bool]) -> tuple[str, ...]:
    return tuple(name for name, has in traits.items() if has)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError("damaged", f"{width}×{height} pixels")
    if width * height > max_pixels:
        raise ImageError("too_many_pixels", f"{width}×{height}, the limit is {max_pixels}")


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Width and height; the decoder reserves memory for them as soon as it is made."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(data) >= 30:
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    raise ImageError("truncated" if len(data) < 30 else "damaged", f"a WebP that begins with {bytes(kind)!r}")


def _gif_canvas(data: bytes) -> tuple[int, int, int]:
    """Width and height with the first frame, which may reach beyond the screen; and 1 or 2 for one frame or more.

    Pillow counts frames by seeking through them, and each may make the canvas larger.
    """

    def number(at: int) -> int:
        return int.from_bytes(data[at : at + 2], "little")

    def after_table(at: int) -> int:
        return at + 1 + (3 << (data[at] & 7) + 1 if data[at] & 0x80 else 0)

    width, height, frames = number(6), number(8), 0
    try:
        at = after_table(10) + 2
        while frames < 2:
            if data[at] == 0x21:  # an extension: its label, then blocks
                at += 2
            elif data[at] == 0x2C:  # an image: place, size, its own table, and the width of its codes
                frames += 1
                if frames == 1:
                    width, height = (
                        max(width, number(at + 1) + number(at + 5)),
                        max(height, number(at + 3) + number(at + 7)),
                    )
                at = after_table(at + 9) + 1
            else:  # the end, or bytes that mean nothing
                break
            while data[at]:
                at += 1 + data[at]
            at += 1
    except IndexError:  # cut: what the header said stands, and the decoder will find it
        pass
    return width, height, frames
