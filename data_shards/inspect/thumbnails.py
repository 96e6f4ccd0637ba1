"""Small upright JPEGs of images, also of what can still be drawn of a rejected one."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from PIL import Image, ImageFile

from data_shards import images
from data_shards.errors import ImageError

HEIGHT = 168
"""Largest height in pixels: twice what the page shows, for fine screens."""
_WIDEST = 3  # times the height; a longer strip is cut in the middle
_MAX_PIXELS = 50_000_000  # of a rejected image, after scaling inside the decoder
_SCALES: tuple[Literal[1, 2, 4, 8], ...] = (8, 4, 2, 1)


class Thumbnail(NamedTuple):
    """A picture for the page: its `source` is a data: URI, its size in pixels."""

    source: str
    width: int
    height: int


def thumbnail(image: bytes) -> Thumbnail | None:
    """A small picture of an image that can be decoded; None where it cannot."""
    try:
        info = images.probe(image)
        height, _ = info.upright
        scale = next(scale for scale in _SCALES if height >= HEIGHT * scale or scale == 1)
        return _small(Image.fromarray(images.decode(image, scale=scale, info=info)))
    except ImageError:
        return None


def remains(image: bytes) -> Thumbnail | None:
    """A small picture of what can be drawn of a rejected image; None where nothing can."""
    with _tolerant():
        try:
            info = images.probe(image, max_pixels=1 << 40)
            if info.format == "jpeg":
                picture = Image.open(io.BytesIO(image), formats=["JPEG"])
                picture.draft("RGB", (HEIGHT, HEIGHT))  # decodes at 1/8 where that is enough
                if picture.width * picture.height <= _MAX_PIXELS:
                    return _small(picture.convert("RGB"))
            elif info.width * info.height <= _MAX_PIXELS:
                return _small(Image.fromarray(images.decode(image, info=info)))
        except Exception:  # whatever a decoder makes of bytes that were rejected
            pass
        return None


def _small(picture: Image.Image) -> Thumbnail:
    limit = _WIDEST * picture.height
    if picture.width > limit:
        left = (picture.width - limit) // 2
        picture = picture.crop((left, 0, left + limit, picture.height))
    if picture.height > HEIGHT:
        width = max(1, round(picture.width * HEIGHT / picture.height))
        picture = picture.resize((width, HEIGHT), Image.Resampling.LANCZOS, reducing_gap=3.0)
    out = io.BytesIO()
    if picture.height <= HEIGHT // 4:  # a few pixels, which JPEG would smear
        picture.save(out, "PNG", optimize=True)
        kind = "png"
    else:
        picture.save(out, "JPEG", quality=82, optimize=True)
        kind = "jpeg"
    text = base64.b64encode(out.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/{kind};base64,{text}", picture.width, picture.height)


@contextmanager
def _tolerant() -> Iterator[None]:
    """Pillow draws what there is of a file that breaks off."""
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    pixels, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before, pixels
