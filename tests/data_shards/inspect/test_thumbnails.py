"""Thumbnails are upright, small, and can be made of what is left of an image."""

from __future__ import annotations

import base64
import io
import random

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from data_shards.inspect.thumbnails import HEIGHT, Thumbnail, remains, thumbnail
from tests.data_shards.pictures import broken_jpeg, encode, jpeg, pixels


def opened(small: Thumbnail | None) -> Image.Image:
    assert small is not None
    kind, _, text = small.source.removeprefix("data:image/").partition(";base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    assert (picture.format or "").lower() == kind
    assert picture.size == (small.width, small.height)
    return picture


@pytest.mark.parametrize("orientation", range(1, 9))
def test_they_are_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = encode(pixels(orientation, 400, 300), exif=exif, quality=95)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(image)))
    expected = expected.resize((round(expected.width * HEIGHT / expected.height), HEIGHT), Image.Resampling.LANCZOS)
    made = opened(thumbnail(image))
    assert made.size == expected.size
    difference = np.abs(np.asarray(made, np.int16) - np.asarray(expected, np.int16))
    assert difference.mean() < 4


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 8), (32, 32), (3000, 2000), (10, 3000), (3000, 10)])
def test_no_shape_makes_them_large(height: int, width: int) -> None:
    made = opened(thumbnail(encode(pixels(1, height, width), "PNG")))
    assert made.height <= HEIGHT
    assert made.width <= 3 * HEIGHT
    assert (made.height == height) == (height <= HEIGHT), "a small image is not enlarged"


def test_what_is_left_of_a_rejected_image_is_drawn() -> None:
    whole = encode(pixels(3, 300, 300), quality=90)
    top = np.asarray(opened(remains(whole[: len(whole) * 2 // 3])), np.int16)[:60]
    assert np.abs(top - np.asarray(opened(thumbnail(whole)), np.int16)[:60]).mean() < 8
    png = encode(np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8), "PNG")
    assert remains(png[:20_000]) is not None
    assert remains(broken_jpeg(1)) is not None
    assert [remains(data) for data in (b"", b"<html>", b"\xff\xd8\xff", png[:30])] == [None] * 4


def test_nothing_that_was_rejected_stops_the_page_or_changes_pillow() -> None:
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    moments = random.Random(0)
    images = [jpeg(1, 40, 40), *(encode(pixels(1, 40, 40), kind) for kind in ("PNG", "GIF", "BMP", "TIFF", "WEBP"))]
    for _ in range(600):
        image = bytearray(moments.choice(images))
        for _ in range(moments.choice([1, 3, 30])):
            image[moments.randrange(len(image))] = moments.randrange(256)
        remains(bytes(image[: moments.randrange(len(image))]))
    assert before == (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS)
