"""A small image of every kind that is told apart: `KINDS` with the traits of each, `REFUSED` with the reason."""

from __future__ import annotations

import importlib.util
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from data_shards import images
from data_shards.errors import ImageError
from tests.data_shards.pictures import encode, pixels


def reason(data: bytes, depth: images.Probe = "strict") -> str | None:
    """Why an image is refused, None where it is not."""
    try:
        images.check(data, depth, max_pixels=10_000_000)
    except ImageError as error:
        return error.reason
    return None


HEIGHT, WIDTH = 40, 52


def picture(seed: int = 1, height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    """A smooth picture in colour."""
    return Image.fromarray(pixels(seed, height, width))


def detailed(height: int, width: int) -> np.ndarray:
    """Detail at every scale, as in a photograph: each octave half as strong as the one below."""
    draw, total = np.random.default_rng(0), np.zeros((height, width, 3))
    for octave in range(7):
        shape = (max(2, height >> octave), max(2, width >> octave), 3)
        layer = Image.fromarray(draw.integers(0, 256, shape, np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        total += np.asarray(layer, float) * 2**octave
    return (total / 127).astype(np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    samples: np.ndarray, colour: int, depth: int, *, size: tuple[int, int] | None = None, interlace: int = 0
) -> bytes:
    """A PNG of rows of big-endian samples, written by hand: Pillow writes no 16-bit colours."""
    height, width = size or samples.shape[:2]
    rows = samples.astype(">u2" if depth == 16 else np.uint8).reshape(samples.shape[0], -1)
    content = b"".join(b"\0" + row.tobytes() for row in rows)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def exif(orientation: int, *, kind: int = 3, thumbnail: int | None = None, entries: int = 1) -> bytes:
    """A block of EXIF; `thumbnail` is an orientation in the second directory, `entries` what the first one claims."""
    value = struct.pack(">HH", orientation, 0) if kind == 3 else struct.pack(">I", orientation)
    first = struct.pack(">HHHI", entries, 0x0112, kind, 1) + value
    second = struct.pack(">HHHI", 1, 0x0112, 3, 1) + struct.pack(">HHI", thumbnail or 1, 0, 0)
    return b"Exif\0\0MM\0*\0\0\0\x08" + first + struct.pack(">I", 26 if thumbnail else 0) + second


def with_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    """A JPEG with one more segment at its start."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content + jpeg[2:]


def with_frame(jpeg: bytes, **fields: int) -> bytes:
    """A JPEG whose frame header claims another `marker`, `precision` or `height`."""
    data = bytearray(jpeg)
    at = data.index(b"\xff\xc0\x00")
    data[at + 1] = fields.get("marker", data[at + 1])
    data[at + 4] = fields.get("precision", data[at + 4])
    if "height" in fields:
        data[at + 5 : at + 7] = struct.pack(">H", fields["height"])
    return bytes(data)


def has_turbojpeg() -> bool:
    """Whether JPEGs of the rare kinds can be written here."""
    return importlib.util.find_spec("turbojpeg") is not None


def rare_jpeg(seed: int = 1, *, inks: bool = False, **options: Any) -> bytes:
    """A JPEG that Pillow does not write: YCCK, arithmetic, lossless. Needs turbojpeg."""
    import turbojpeg

    array = np.asarray(picture(seed).convert("CMYK")) if inks else np.asarray(picture(seed))
    if inks:
        array = np.ascontiguousarray(255 - array)
        options |= {"pixelformat": turbojpeg.PF.CMYK, "colorspace": turbojpeg.CS.YCCK}
    data: bytes = turbojpeg.compress(array, 90, turbojpeg.SAMP.Y444, **options)
    return data


def _frames(format: str, **options: Any) -> bytes:
    first, *others = (picture(seed) for seed in range(3))
    return encode(first, format, save_all=True, append_images=others, **options)


def _translucent(mode: str = "RGBA") -> Image.Image:
    image = picture(3).convert("RGBA")
    image.putalpha(picture(4).convert("L"))
    return image.convert(mode)


def _deep(channels: int) -> np.ndarray:
    draw = np.random.default_rng(5)
    colours = np.dstack([pixels(5, HEIGHT, WIDTH), pixels(7, HEIGHT, WIDTH)])[..., :channels]
    return colours.astype(np.uint16) << 8 | draw.integers(0, 256, colours.shape, np.uint16)


def _palette() -> Image.Image:
    return picture(6).quantize(32)


def _kinds() -> dict[str, tuple[bytes, set[str]]]:
    photo, grey = picture(), picture().convert("L")
    deep = Image.fromarray(_deep(1)[..., 0])
    baseline = encode(photo, quality=90)
    profile = bytes(range(256)) * 4
    kinds: dict[str, tuple[bytes, set[str]]] = {
        "jpeg": (baseline, set()),
        "jpeg 4:4:4": (encode(photo, quality=90, subsampling="4:4:4"), set()),
        "jpeg grey": (encode(grey), {"grey"}),
        "jpeg progressive": (encode(photo, progressive=True), {"progressive"}),
        "jpeg cmyk": (encode(photo.convert("CMYK"), quality=95), {"cmyk"}),
        "jpeg rgb": (encode(photo, quality=95, keep_rgb=True), set()),
        "jpeg restarts": (encode(photo, restart_marker_blocks=2), set()),
        "jpeg rotated": (with_segment(baseline, 0xE1, exif(6)), {"rotated"}),
        "jpeg profile": (encode(photo, icc_profile=profile), set()),
        "jpeg mpo": (_frames("MPO"), set()),
        "jpeg, then garbage": (baseline + b"garbage" * 30, set()),
        "jpeg of one pixel": (encode(picture(1, 1, 1)), set()),
        "png": (encode(photo, "PNG"), set()),
        "png grey": (encode(grey, "PNG"), {"grey"}),
        "png 1 bit": (encode(photo.convert("1"), "PNG"), {"grey"}),
        "png grey alpha": (encode(_translucent("LA"), "PNG"), {"alpha", "grey"}),
        "png alpha": (encode(_translucent(), "PNG"), {"alpha"}),
        "png palette": (encode(_palette(), "PNG"), {"palette"}),
        "png palette alpha": (encode(_palette(), "PNG", transparency=bytes(range(0, 256, 8))), {"palette", "alpha"}),
        "png grey 16": (encode(deep, "PNG"), {"16-bit", "grey"}),
        "png rgb 16": (png(_deep(3), 2, 16), {"16-bit"}),
        "png rgba 16": (png(_deep(4), 6, 16), {"16-bit", "alpha"}),
        "png interlaced": (interlaced(), set()),
        "png rotated": (encode(photo, "PNG", exif=exif(8)), {"rotated"}),
        "png animated": (_frames("PNG"), {"animated"}),
        "png profile": (encode(photo, "PNG", icc_profile=profile), set()),
        "webp": (encode(photo, "WEBP"), set()),
        "webp lossless": (encode(photo, "WEBP", lossless=True), set()),
        "webp alpha": (encode(_translucent(), "WEBP"), {"alpha"}),
        "webp rotated": (encode(photo, "WEBP", exif=exif(3)), {"rotated"}),
        "webp animated": (_frames("WEBP"), {"animated"}),
        "gif": (encode(_palette(), "GIF"), {"palette"}),
        "gif grey": (encode(grey, "GIF"), {"palette"}),
        "gif alpha": (encode(_palette(), "GIF", transparency=0), {"palette", "alpha"}),
        "gif animated": (_frames("GIF"), {"palette", "animated"}),
        "bmp": (encode(photo, "BMP"), set()),
        "bmp palette": (encode(_palette(), "BMP"), {"palette"}),
        "tiff": (encode(photo, "TIFF"), set()),
        "tiff lzw": (encode(photo, "TIFF", compression="tiff_lzw"), set()),
        "tiff deflate": (encode(photo, "TIFF", compression="tiff_adobe_deflate"), set()),
        "tiff jpeg": (encode(photo, "TIFF", compression="jpeg"), set()),
        "tiff fax": (encode(photo.convert("1"), "TIFF", compression="group4"), {"grey"}),
        "tiff big": (encode(photo, "TIFF", big_tiff=True), set()),
        "tiff grey 16": (encode(deep, "TIFF"), {"16-bit", "grey"}),
        "tiff cmyk": (encode(photo.convert("CMYK"), "TIFF"), {"cmyk"}),
        "tiff alpha": (encode(_translucent(), "TIFF"), {"alpha"}),
        "tiff pages": (_frames("TIFF"), {"animated"}),
        "tiff rotated": (encode(photo, "TIFF", tiffinfo={274: 6}), {"rotated"}),
    }
    if has_turbojpeg():
        kinds |= {
            "jpeg ycck": (rare_jpeg(inks=True), {"cmyk"}),
            "jpeg arithmetic": (rare_jpeg(arithmetic=True), set()),
            "jpeg arithmetic progressive": (rare_jpeg(arithmetic=True, progressive=True), {"progressive"}),
        }
    return kinds


def interlaced() -> bytes:
    """A PNG interlaced after Adam7, which Pillow reads and does not write."""
    array = np.asarray(picture())
    steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [b"\0" + row.tobytes() for y, x, dy, dx in steps for row in array[y::dy, x::dx]]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")


def _refused() -> dict[str, tuple[bytes, str]]:
    baseline = encode(picture(), quality=90)
    page = b"<!DOCTYPE html><html><body>Not found</body></html>"
    refused = {
        "nothing": (b"", "empty"),
        "a web page": (page, "not_an_image"),
        "zeros": (bytes(600), "not_an_image"),
        "a film": (b"\0\0\0\x20ftypisom" + bytes(50), "not_an_image"),
        "avif": (b"\0\0\0\x20ftypavif" + bytes(50), "unsupported_format"),
        "jpeg xl": (b"\xff\x0a" + bytes(50), "unsupported_format"),
        "jpeg lossless": (with_frame(baseline, marker=0xC3), "unsupported_format"),
        "jpeg hierarchical": (with_frame(baseline, marker=0xC5), "unsupported_format"),
        "jpeg 12 bits": (with_frame(baseline, precision=12), "unsupported_format"),
        "jpeg without height": (with_frame(baseline, height=0), "unsupported_format"),
        "jpeg cut": (baseline[:-50], "truncated"),
        "jpeg cut, padded": (baseline[:-50] + bytes(500), "truncated"),
        "png cut": (encode(picture(), "PNG")[:-200], "truncated"),
        "png without width": (png(np.zeros((4, 4, 3)), 2, 8, size=(4, 0)), "damaged"),
        "webp cut": (encode(picture(), "WEBP")[:-60], "damaged"),
        "gif cut": (encode(_palette(), "GIF")[:-300], "truncated"),
        "bmp cut": (encode(picture(), "BMP")[:-300], "truncated"),
        "tiff cut": (encode(picture(), "TIFF")[:-300], "truncated"),
        "tiff floats": (encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "unsupported_format"),
        "tiff 32 bits": (encode(Image.fromarray(np.ones((4, 4), np.int32)), "TIFF"), "unsupported_format"),
        "tiff lab": (encode(picture().convert("RGB").convert("LAB"), "TIFF"), "unsupported_format"),
    }
    if has_turbojpeg():
        refused["jpeg lossless, whole"] = (rare_jpeg(lossless=True), "unsupported_format")
    return refused


KINDS = _kinds()
REFUSED = _refused()
