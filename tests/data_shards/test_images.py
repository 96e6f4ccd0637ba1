"""Every kind of image becomes upright RGB; what cannot is named. Pillow's own conversions are the oracle."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_shards import images
from data_shards.errors import ImageError
from tests.data_shards.pictures import broken_jpeg, encode, jpeg, pixels


def reason(data: bytes, depth: images.Probe = "strict") -> str | None:
    try:
        images.check(data, depth, max_pixels=10_000_000)
    except ImageError as error:
        return error.reason
    return None


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF"])
def test_lossless_formats_give_their_exact_pixels(format: str) -> None:
    picture = pixels(1)
    data = encode(Image.fromarray(picture).quantize(200) if format == "GIF" else picture, format)
    assert np.array_equal(images.decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert images.size(data) == (12, 10)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright_as_pillow_turns_them(format: str, orientation: int) -> None:
    picture = Image.fromarray(pixels(2, 24, 16))
    exif = Image.Exif()
    exif[274] = orientation
    options = {"tiffinfo": {274: orientation}} if format == "TIFF" else {"exif": exif}
    data = encode(picture, format, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    decoded = images.decode(data)
    assert decoded.shape == expected.shape
    assert images.size(data) == decoded.shape[:2]
    assert np.abs(decoded.astype(int) - expected).max() <= 8, "JPEG decoders differ in upsampling only"
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("shape", [(41, 50), (8, 8), (1, 1), (17, 3)])
def test_a_jpeg_decodes_at_exactly_the_scale_asked_for(scale: int, shape: tuple[int, int]) -> None:
    height, width = shape
    decoded = images.decode(jpeg(3, height, width), scale=scale)
    assert decoded.shape == (-(-height // scale), -(-width // scale), 3)


def test_a_scaled_jpeg_is_the_mean_of_its_blocks() -> None:
    data = jpeg(4, 64, 64)
    whole = images.decode(data).astype(float)
    halves = whole.reshape(32, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(images.decode(data, scale=2) - halves).mean() < 2


def test_a_buffer_holds_the_pixels_and_one_too_small_is_passed_over() -> None:
    data = jpeg(5, 20, 30)
    buffer = np.zeros(20 * 30 * 3, np.uint8)
    decoded = images.decode(data, buffer=buffer)
    assert np.shares_memory(decoded, buffer)
    assert np.array_equal(decoded, images.decode(data))
    assert np.array_equal(decoded, images.decode(data, buffer=bytearray(10)))


def test_grey_cmyk_and_progressive_jpegs_become_rgb() -> None:
    picture = Image.fromarray(pixels(6))
    grey = images.decode(encode(picture.convert("L")))
    assert np.array_equal(grey[..., 0], grey[..., 2])
    cmyk = encode(picture.convert("CMYK"), quality=95)
    assert images.probe(cmyk).mode == "CMYK"
    assert np.abs(images.decode(cmyk).astype(int) - pixels(6)).mean() < 6
    progressive = encode(picture, progressive=True)
    assert images.probe(progressive).traits == ("progressive",)
    assert images.probe(jpeg(6)).traits == ()


def test_sixteen_bits_keep_their_upper_eight() -> None:
    values = np.arange(0, 65536, 512, dtype=np.uint16).reshape(8, 16)
    data = encode(Image.fromarray(values), "PNG")
    assert np.array_equal(images.decode(data)[..., 1], (values >> 8).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_over_white(mode: str) -> None:
    picture = Image.new("RGBA", (6, 4), (200, 30, 30, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 3, 4))
    if mode == "P":
        palette = Image.new("P", (6, 4), 1)
        palette.putpalette([0, 0, 0, 200, 30, 30])
        palette.paste(0, (0, 0, 3, 4))
        data = encode(palette, "PNG", transparency=0)
    else:
        data = encode(picture.convert(mode), "PNG")
    decoded = images.decode(data)
    assert (decoded[:, :3] == 255).all()
    assert (decoded[:, 3:] < 255).any()


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "green", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert "animated" in images.probe(data).traits
    assert (images.decode(data)[0, 0] == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html></html>", "not_an_image"),
        (b"\0" * 600, "not_an_image"),
        (b"\0\0\0\x20ftypavif" + bytes(50), "unsupported_format"),
        (jpeg(1)[:200], "truncated"),
        (jpeg(1, 60, 60)[:-40], "truncated"),
        (b"\xff\xd8\xff", "truncated"),
        (broken_jpeg(1), "truncated"),
        (jpeg(1).replace(b"\xff\xc0\x00\x11", b"\xff\xc0\x00\x12"), "damaged"),
        (encode(pixels(1), "PNG")[:-60], "truncated"),
        (png_header(100_000, 100_000), "too_many_pixels"),
        (encode(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "unsupported_format"),
    ],
)
def test_unusable_images_are_named(data: bytes, expected: str) -> None:
    found = reason(data)
    assert found in images.REASONS
    assert found == expected


def test_the_header_check_finds_a_jpeg_without_an_end_and_trusts_the_rest() -> None:
    assert reason(jpeg(1, 60, 60)[:-40], "header") == "truncated"
    assert reason(broken_jpeg(1), "header") is None
    assert reason(jpeg(1) + b"trailing bytes", "header") is None


def test_an_end_marker_inside_a_thumbnail_does_not_count() -> None:
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + 60) + b"thumb\xff\xd9".ljust(60, b"\0")
    whole = jpeg(1, 60, 60)
    data = whole[:2] + thumbnail + whole[2:-40]
    assert reason(data, "header") == "truncated"


def test_the_pixel_limit_is_inclusive() -> None:
    data = encode(pixels(1), "PNG")
    assert images.check(data, max_pixels=120).width == 10
    with pytest.raises(ImageError, match="too_many_pixels"):
        images.check(data, max_pixels=119)
