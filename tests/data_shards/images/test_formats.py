"""Every kind of image is told by its header, with its traits; what cannot be used is named, and costs no memory."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from data_shards import images
from data_shards.errors import ImageError
from tests.data_shards.kinds import (
    KINDS,
    REFUSED,
    exif,
    has_turbojpeg,
    picture,
    png,
    rare_jpeg,
    reason,
    with_frame,
    with_segment,
)
from tests.data_shards.peak import memory_below
from tests.data_shards.pictures import broken_jpeg, encode, jpeg, pixels

needs_turbojpeg = pytest.mark.skipif(not has_turbojpeg(), reason="needs the package turbojpeg")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", ["header", "strict", "full"])
def test_every_kind_is_accepted_with_its_traits(kind: str, depth: images.Probe) -> None:
    data, traits = KINDS[kind]
    info, seen = images.judge(data, depth)
    assert info == images.check(data, depth) == images.probe(data)
    assert info.format == kind.replace(",", " ").split()[0]
    assert set(info.traits) == traits
    assert traits <= set(images.TRAITS)
    assert (seen is None) == (depth == "header")
    if depth == "full":
        assert np.array_equal(seen, images.decode(data))


@pytest.mark.parametrize("kind", REFUSED)
def test_every_other_kind_is_refused_by_name(kind: str) -> None:
    data, expected = REFUSED[kind]
    assert expected in images.REASONS
    assert reason(data) == reason(data, "full") == expected


def test_every_trait_and_every_reason_is_met() -> None:
    assert set.union(*(traits for _, traits in KINDS.values())) == set(images.TRAITS)
    assert {reason for _, reason in REFUSED.values()} == set(images.REASONS) - {"too_many_pixels", "animated"}


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


BOMBS = {
    "jpeg": with_frame(jpeg(1, 8, 2000), height=65_000),
    "png": png(np.zeros((1, 9)), 0, 8, size=(100_000, 100_000)),
    "png interlaced": png(np.zeros((1, 9)), 0, 8, size=(100_000, 100_000), interlace=1),
    "webp": b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(30),
    "webp lossless": b"RIFF\x30\0\0\0WEBPVP8L\x20\0\0\0\x2f\xff\xff\xff\x0f" + bytes(40),
    "webp lossy": b"RIFF\x30\0\0\0WEBPVP8 \x20\0\0\0\x30\1\0\x9d\1\x2a\xff\x3f\xff\x3f" + bytes(30),
    "gif": b"GIF89a\xff\xff\xff\xff\0\0\0" + encode(picture().quantize(4), "GIF")[13:],
    "gif frame": b"GIF89a\1\0\1\0\0\0\0,\xff\xff\xff\xff\xff\xff\xff\xff\0\2\2D\1\0;",
    "bmp": encode(picture(), "BMP")[:18] + struct.pack("<ii", 60_000, 60_000) + encode(picture(), "BMP")[26:],
    "tiff": encode(picture(), "TIFF").replace(
        struct.pack("<HHII", 256, 4, 1, 52), struct.pack("<HHII", 256, 4, 1, 9_999_999)
    ),
}


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("depth", ["header", "strict"])
def test_a_decompression_bomb_costs_its_header(kind: str, depth: images.Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "decode", None)
    with memory_below(10 << 20):
        assert reason(BOMBS[kind], depth) == "too_many_pixels"


def test_memory_is_watched() -> None:
    with pytest.raises(AssertionError, match="MiB more"), memory_below(10 << 20):
        assert np.ones(40 << 20, np.uint8).any()


@needs_turbojpeg
def test_a_lossless_jpeg_never_reaches_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """simplejpeg 1.9 decodes it at 1/8 into an array of 1/8, and writes all of its pixels."""
    monkeypatch.setattr(images.simplejpeg, "decode_jpeg", None)
    data = rare_jpeg(lossless=True)
    for disguised in (
        data,
        with_segment(data, 0xE0, b"\xff\xc0" + bytes(20)),
        data[:2] + b"\xff" * 9 + data[2:],
        data[:2] + b"\xff\x01" + with_frame(jpeg(1))[2:40] + data[2:],
        data[:2] + b"\xff\xd0" + data[2:],
        data[:2] + b"\xff\x00\x00\x04" + data[2:],
        data[:2] + b"\xff\xd8" + data[2:],
    ):
        assert reason(disguised) in ("unsupported_format", "damaged")


@pytest.mark.parametrize("make", [exif, lambda value, **k: b"Exif\0\0" + _little(value)], ids=["big", "little"])
def test_only_the_orientation_of_the_image_itself_counts(make: Callable[..., bytes]) -> None:
    plain = jpeg(1, 30, 40)
    assert images.probe(with_segment(plain, 0xE1, make(6))).orientation == 6
    assert images.probe(with_segment(with_segment(plain, 0xE1, make(3)), 0xE1, make(8))).orientation == 8


def _little(value: int) -> bytes:
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIHH", 1, 0x0112, 3, 1, value, 0)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (exif(1, thumbnail=6), 1),
        (exif(8, thumbnail=3), 8),
        (exif(6, kind=4), 6),
        (exif(6, kind=7), 1),
        (exif(0), 1),
        (exif(9), 1),
        (exif(0xFFFF), 1),
        (exif(6, entries=0xFFFF), 6),
        (exif(6, entries=0), 1),
        (exif(6)[:20], 1),
        (b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(20), 1),
        (b"Exif\0\0", 1),
        (b"Exif\0\0??" + exif(6)[8:], 1),
    ],
)
def test_absurd_exif_is_no_orientation(block: bytes, expected: int) -> None:
    data = with_segment(jpeg(1, 30, 40), 0xE1, block)
    info = images.check(data, "full")
    assert info.orientation == expected
    assert ("rotated" in info.traits) == (expected != 1)
