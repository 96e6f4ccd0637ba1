"""Every kind of image becomes upright RGB. Pillow's own conversions are the oracle."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from data_shards import images
from tests.data_shards.kinds import (
    KINDS,
    chunk,
    detailed,
    has_turbojpeg,
    picture,
    reason,
)
from tests.data_shards.pictures import encode, jpeg, pixels

needs_turbojpeg = pytest.mark.skipif(not has_turbojpeg(), reason="needs the package turbojpeg")


def by_pillow(data: bytes) -> np.ndarray:
    """What Pillow alone makes of an image: upright, over white, in RGB."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "arithmetic" not in kind])
def test_every_kind_decodes_as_pillow_decodes_it(kind: str) -> None:
    data = KINDS[kind][0]
    decoded = images.decode(data)
    assert decoded.shape[:2] == images.size(data)
    assert decoded.flags.c_contiguous
    off = np.abs(decoded.astype(int) - by_pillow(data)).max()
    assert off <= (1 if KINDS[kind][1] & {"cmyk"} else 0), "both round inks once"


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


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("jpeg")])
def test_jpegs_of_every_kind_scale(kind: str, scale: images.Scale) -> None:
    data = KINDS[kind][0]
    whole = images.decode(data)
    scaled = images.decode(data, scale=scale)
    assert scaled.shape == (-(-whole.shape[0] // scale), -(-whole.shape[1] // scale), 3)
    small = np.asarray(Image.fromarray(whole).reduce(scale)).astype(int)
    assert np.abs(small - scaled).mean() < 6


def test_damage_in_a_cmyk_jpeg_is_found_at_an_eighth() -> None:
    whole = encode(Image.fromarray(detailed(200, 300)).convert("CMYK"), quality=90)
    assert reason(whole) is None
    for share in (0.3, 0.6, 0.9):
        assert reason(whole[: int(len(whole) * share)] + b"\xff\xd9") == "truncated"


@needs_turbojpeg
def test_unusual_subsampling_decodes_through_pillow() -> None:
    import turbojpeg

    usual = turbojpeg.compress(np.asarray(picture(1, 64, 96)), 90, turbojpeg.SAMP.Y444)
    data = bytearray(usual)
    at = data.index(b"\xff\xc0")
    data[at + 11], data[at + 14], data[at + 17] = 0x31, 0x11, 0x11  # three times as wide: a ratio without a name
    data[at + 5 : at + 9] = struct.pack(">HH", 64, 96 * 3)
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg(bytes(data))
    info = images.check(bytes(data))
    assert np.abs(images.decode(bytes(data)).astype(int) - by_pillow(bytes(data))).max() == 0
    for scale in (2, 4, 8):
        assert images.decode(bytes(data), scale=scale, info=info).shape == (64 // scale, 288 // scale, 3)


def test_of_a_jpeg_and_what_follows_it_the_jpeg_counts() -> None:
    first, second = jpeg(1, 30, 40), jpeg(2, 30, 40)
    for data in (first + second, first + second[:-50], first + bytes(1000), first + b"\xff\xd8\xff" * 9):
        assert reason(data, "full") is None
        assert np.array_equal(images.decode(data), images.decode(first))


def test_a_png_is_whole_when_its_pixels_are() -> None:
    data = encode(picture(), "PNG")
    comment = chunk(b"tEXt", b"Comment\0hello")
    late = data[:-12] + comment[:-1] + b"?" + data[-12:]
    for candidate in (late, data[:-12], data + b"garbage"):
        assert reason(candidate, "full") is None
        assert np.array_equal(images.decode(candidate), np.asarray(picture()))
    at = data.index(b"IDAT") + 30
    assert reason(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]) == "damaged"


def test_twelve_bits_of_a_tiff_keep_their_upper_eight() -> None:
    values = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in values.reshape(-1, 2).tolist())
    tags = {256: 8, 257: 8, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: len(packed)}
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags.items())
    data = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory + bytes(4)
    assert images.check(data).traits == ("16-bit", "grey")
    assert np.array_equal(images.decode(data)[..., 0], values >> 4)
