"""From encoded bytes to rows of a batch: every format, many threads, and the whole chain against Pillow's."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torchvision.transforms.functional as reference
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from data_shards import images
from data_shards.batch import Draw
from data_shards.errors import ImageError
from pipeline.views import Crops, Evaluation, Labelled, MultiCrop, Pair, Renderer
from pipeline.views.draw import VIEW, draw_views
from pipeline.views.render import render, scratch_for
from tests.pipeline.views.photographs import crop, decibels, encoded, photograph, photographs, view_of

SMALL = MultiCrop.Config(crops=(Crops(count=2, size=32, scale=(0.3, 1.0)), Crops(count=3, size=14, scale=(0.05, 0.3))))


def laid_out(renderer: Renderer, draw: Draw, height: int, width: int) -> NDArray[Any]:
    views = np.zeros(sum(count for _, count in renderer.groups), VIEW)
    renderer.lay_out(draw, height, width, views)
    return views


def test_arrays_hold_the_views_of_each_size() -> None:
    shapes = [array.shape for array in SMALL.build().allocate(5)]
    assert shapes == [(2, 5, 32, 32, 3), (3, 5, 14, 14, 3)]


def test_a_row_is_written_and_no_other() -> None:
    transform = SMALL.build()
    arrays = transform.allocate(3)
    for array in arrays:
        array[:] = 77
    transform.write(encoded(photographs()[0]), Draw(0, 0, 0), arrays, 1)
    for array in arrays:
        assert (array[:, (0, 2)] == 77).all()
        assert (array[:, 1] != 77).any()


def test_each_view_of_a_row_is_the_view_that_was_laid_out() -> None:
    transform, pixels, draw = SMALL.build(), photographs()[1], Draw(3, 4, 5)
    arrays = transform.allocate(2)
    transform.write(encoded(pixels, "BMP"), draw, arrays, 1)
    views = laid_out(transform, draw, *pixels.shape[:2])
    written = [one for array in arrays for one in array[:, 1]]
    for n, one in enumerate(written):
        np.testing.assert_array_equal(one, crop(pixels, views[n : n + 1]))


def test_the_same_draw_gives_the_same_bytes_on_every_thread() -> None:
    transform = SMALL.build()
    samples = [encoded(photograph(60 + 7 * n, 90 + 5 * n, n % 3)) for n in range(24)]
    alone, together = transform.allocate(240), transform.allocate(240)
    for row in range(240):
        transform.write(samples[row % 24], Draw(1, 2, row), alone, row)
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda row: transform.write(samples[row % 24], Draw(1, 2, row), together, row), reversed(range(240))
            )
        )
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def kinds_of_image(pixels: NDArray[np.uint8]) -> dict[str, tuple[bytes, NDArray[np.uint8]]]:
    """Encoded images of every kind, each with the upright RGB pixels that it means."""
    picture = Image.fromarray(pixels)
    grey = np.asarray(picture.convert("L"))
    height, width = grey.shape
    alpha = np.linspace(0, 255, width).astype(np.uint8)[None].repeat(height, 0)
    share = alpha[..., None] / 255
    over_white = np.round(pixels * share + 255 * (1 - share)).astype(np.uint8)
    rotated = Image.Exif()
    rotated[274] = 6  # stored rotated by a quarter to the left
    on_its_side = np.ascontiguousarray(np.rot90(pixels))
    sixteen = grey.astype(np.uint16) * 257
    of_palette = picture.quantize()

    def file(image: Image.Image, format: str, **options: Any) -> bytes:
        out = io.BytesIO()
        image.save(out, format, **options)
        return out.getvalue()

    three = np.repeat(grey[..., None], 3, 2)
    return {
        "jpeg": (file(picture, "JPEG", quality=98, subsampling=0), pixels),
        "progressive jpeg": (file(picture, "JPEG", quality=98, subsampling=0, progressive=True), pixels),
        "grey jpeg": (file(Image.fromarray(grey), "JPEG", quality=98), three),
        "cmyk jpeg": (file(picture.convert("CMYK"), "JPEG", quality=98), pixels),
        "jpeg on its side": (
            file(Image.fromarray(on_its_side), "JPEG", quality=98, subsampling=0, exif=rotated.tobytes()),
            pixels,
        ),
        "png": (file(picture, "PNG"), pixels),
        "png on its side": (file(Image.fromarray(on_its_side), "PNG", exif=rotated.tobytes()), pixels),
        "alpha": (file(Image.fromarray(np.dstack([pixels, alpha])), "PNG"), over_white),
        "16 bits": (file(Image.fromarray(sixteen), "PNG"), three),
        "16 bits in a tiff": (file(Image.fromarray(sixteen), "TIFF"), three),
        "grey with alpha": (
            file(Image.fromarray(np.dstack([grey, alpha]), "LA"), "PNG"),
            np.round(three * share + 255 * (1 - share)).astype(np.uint8),
        ),
        "palette": (file(of_palette, "PNG"), np.asarray(of_palette.convert("RGB"))),
        "gif": (file(of_palette, "GIF"), np.asarray(of_palette.convert("RGB"))),
        "webp": (file(picture, "WEBP", lossless=True), pixels),
        "bmp": (file(picture, "BMP"), pixels),
    }


@pytest.mark.parametrize(
    "config",
    [
        Evaluation.Config(size=64, resize=70),
        Labelled.Config(size=48, scale=(0.3, 1.0)),
        Pair.Config(size=40),
        SMALL,
        MultiCrop.Config(crops=SMALL.crops, photometric="device"),
    ],
    ids=["evaluation", "labelled", "pair", "multicrop", "on the device"],
)
def test_every_kind_of_image_gives_the_crops_of_what_it_means(config: Any) -> None:
    transform: Renderer = config.build()
    arrays, truth = transform.allocate(1), transform.allocate(1)
    for kind, (image, pixels) in kinds_of_image(photograph(70, 92)).items():
        transform.write(image, Draw(0, 0, 7), arrays, 0)
        transform.write(encoded(pixels, "BMP"), Draw(0, 0, 7), truth, 0)
        for ours, expected in zip(arrays, truth, strict=True):
            if ours.ndim == 3:  # the draws
                np.testing.assert_array_equal(ours, expected)
            elif "jpeg" in kind:
                assert decibels(ours, expected) > 35, kind
            else:
                assert np.abs(ours.astype(int) - expected).max() <= 3, kind  # levels one apart, jittered apart
            if "grey" in kind or "16" in kind:
                assert ours.ndim == 3 or (np.ptp(ours, axis=-1) <= 1).all(), kind


def test_crops_of_a_rotated_image_come_from_the_upright_one() -> None:
    pixels = photograph(80, 120)
    exif = Image.Exif()
    exif[274] = 6  # stored rotated by a quarter to the left
    stored = encoded(np.ascontiguousarray(np.rot90(pixels)), "JPEG", exif=exif.tobytes(), quality=95)
    transform = Evaluation.Config(size=80, resize=80).build()
    arrays = transform.allocate(1)
    transform.write(stored, Draw(0, 0, 0), arrays, 0)
    assert decibels(arrays[0][0, 0], pixels[:, 20:100]) > 25


def test_a_damaged_image_is_reported_and_harms_nothing() -> None:
    transform, good = SMALL.build(), encoded(photographs()[2])
    expected, arrays = transform.allocate(1), transform.allocate(1)
    transform.write(good, Draw(0, 0, 1), expected, 0)
    for bad in (b"", b"<html>", good[: len(good) // 2]):
        with pytest.raises(ImageError):
            transform.write(bad, Draw(0, 0, 1), arrays, 0)
    transform.write(good, Draw(0, 0, 1), arrays, 0)
    for a, b in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_images_of_any_size_follow_each_other() -> None:
    transform = SMALL.build()
    arrays = transform.allocate(1)
    for height, width in ((1, 1), (2000, 3), (3, 2000), (40, 50), (900, 1300), (1, 9)):
        image = encoded(photograph(height, width), "BMP")
        transform.write(image, Draw(0, 0, 0), arrays, 0)
        again = SMALL.build()
        fresh = again.allocate(1)
        again.write(image, Draw(0, 0, 0), fresh, 0)
        for a, b in zip(arrays, fresh, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_large_jpeg_is_decoded_small_and_its_crops_hardly_change(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = photograph(1200, 1600)
    transform = MultiCrop.Config(
        crops=(Crops(count=2, size=48, scale=(0.2, 1.0)),), jitter=0, grayscale=0, blur=0
    ).build()
    scales = []
    decode = images.decode

    def watched(data: bytes, **options: Any) -> NDArray[np.uint8]:
        scales.append(options["scale"])
        return decode(data, **options)

    monkeypatch.setattr(images, "decode", watched)
    small, whole = transform.allocate(1), transform.allocate(1)
    lossy, lossless = encoded(pixels, quality=95), encoded(pixels, "BMP")
    for index in range(10):
        transform.write(lossy, Draw(0, 0, index), small, 0)
        transform.write(lossless, Draw(0, 0, index), whole, 0)
        assert decibels(small[0], whole[0]) > 33
    assert set(scales) == {8}


def test_the_whole_chain_is_that_of_torchvision_on_pillow() -> None:
    transform = MultiCrop.Config(crops=(Crops(count=2, size=96, scale=(0.14, 1.0)),)).build()
    arrays = transform.allocate(1)
    ratios, means = [], []
    sources = [photograph(240, 320, number) for number in range(3)]
    for index in range(60):
        pixels, draw = sources[index % 3], Draw(11, 0, index)
        transform.write(encoded(pixels, "BMP"), draw, arrays, 0)
        for view, ours in zip(laid_out(transform, draw, *pixels.shape[:2]), arrays[0][:, 0], strict=True):
            theirs = np.asarray(by_torchvision(Image.fromarray(pixels), view))
            ratios.append(decibels(ours, theirs))
            means.append(float(ours.mean() - theirs.mean()))
    assert np.median(ratios) > 43
    assert np.percentile(ratios, 5) > 37
    # Pillow cuts fractions off after each operation and we do not: about one level, always to the same side.
    assert 0 < np.mean(means) < 1.5


def by_torchvision(image: Image.Image, view: NDArray[Any]) -> Image.Image:
    """The same view, made by the operations SwAV is trained with."""
    top, left, height, width, size = (int(view[field]) for field in ("top", "left", "height", "width", "size"))
    image = reference.resized_crop(image, top, left, height, width, [size, size])
    if view["flip"]:
        image = reference.hflip(image)
    if view["jitter"]:
        operations = (
            (reference.adjust_brightness, "brightness"),
            (reference.adjust_contrast, "contrast"),
            (reference.adjust_saturation, "saturation"),
            (reference.adjust_hue, "hue"),
        )
        for number in view["order"]:
            function, field = operations[number]
            image = function(image, float(view[field]))
    if view["grayscale"]:
        image = reference.rgb_to_grayscale(image, 3)
    if view["sigma"] > 0:
        image = image.filter(ImageFilter.GaussianBlur(float(view["sigma"])))
    return image


def test_other_threads_run_while_crops_are_computed() -> None:
    pixels = photographs()[0]
    views = np.repeat(view_of(64, (0, 0, 512, 512), sigma=2.0), 300)
    array, scratch = np.empty((300, 1, 64, 64, 3), np.uint8), scratch_for(64, 2.0, 512, 512)
    render(pixels, 1, views[:1], array[:1], 0, scratch)  # compiled beforehand
    events: list[str] = []

    def work() -> None:
        events.append("begin")
        render(pixels, 1, views, array, 0, scratch)
        events.append("end")

    thread, turns = Thread(target=work), 0
    thread.start()
    while len(events) < 2:
        turns += len(events)  # while the kernel held the GIL, this line could not run
    thread.join()
    assert turns > 100


def test_one_compilation_serves_every_transform_and_image_and_another_the_bicubic_ones() -> None:
    pixels = photograph(50, 60)
    plain = (SMALL, Pair.Config(size=20), Labelled.Config(size=20), Evaluation.Config(size=20, resize=24))
    bicubic = (
        Labelled.Config(size=20, interpolation="bicubic"),
        Evaluation.Config(size=20, resize=24, interpolation="bicubic"),
    )
    for config in (*plain, *bicubic):
        transform = config.build()
        arrays = transform.allocate(2)
        for image in (encoded(pixels), encoded(pixels, "PNG"), encoded(pixels[:1, :1], "PNG")):
            transform.write(image, Draw(1, 2, 3), arrays, 1)
    assert len(render.signatures) == 2
    assert len(draw_views.signatures) == 1
