"""Resizing, through the compiled code that ships: Pillow is the reference."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.views.photographs import Box, crop, decibels, photograph, photographs, view_of


def pillow(pixels: np.ndarray, box: Box, height: int, width: int, bicubic: bool = False) -> np.ndarray:
    """Across and then down, one axis a call: from version 13 on Pillow goes down first where that saves much."""
    top, left, box_height, box_width = box
    part = Image.fromarray(pixels).crop((left, top, left + box_width, top + box_height))
    how = Image.Resampling.BICUBIC if bicubic else Image.Resampling.BILINEAR
    return np.asarray(part.resize((width, box_height), how).resize((width, height), how))


@pytest.mark.parametrize("bicubic", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 33, 96, 160, 224])
def test_a_crop_is_pillows_to_one_grey_level(size: int, bicubic: bool) -> None:
    random = np.random.default_rng(size)
    for pixels in photographs():
        for _ in range(4):
            height, width = random.integers(1, pixels.shape[0] + 1), random.integers(1, pixels.shape[1] + 1)
            top, left = (
                random.integers(0, pixels.shape[0] - height + 1),
                random.integers(0, pixels.shape[1] - width + 1),
            )
            box = (int(top), int(left), int(height), int(width))
            ours = crop(pixels, view_of(size, box, bicubic=bicubic))
            theirs = pillow(pixels, box, size, size, bicubic)
            assert np.abs(ours.astype(int) - theirs).max() <= 1
            assert decibels(ours, theirs) > 52


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (7, 1), (2, 2), (1, 500), (3000, 5)])
@pytest.mark.parametrize("size", [1, 4, 6, 16])
@pytest.mark.parametrize("bicubic", [False, True])
def test_tiny_and_thin_images_are_resized(height: int, width: int, size: int, bicubic: bool) -> None:
    pixels = photograph(height, width)
    box = (0, 0, height, width)
    ours = crop(pixels, view_of(size, box, bicubic=bicubic))
    assert np.abs(ours.astype(int) - pillow(pixels, box, size, size, bicubic)).max() <= 1


@pytest.mark.parametrize("bicubic", [False, True])
def test_hundreds_of_taps_are_summed(bicubic: bool) -> None:
    pixels = photograph(1500, 2600)
    box = (0, 0, 1500, 2600)
    for size in (1, 3, 8):
        ours = crop(pixels, view_of(size, box, bicubic=bicubic))
        assert np.abs(ours.astype(int) - pillow(pixels, box, size, size, bicubic)).max() <= 1


@pytest.mark.parametrize("bicubic", [False, True])
def test_pixels_outside_the_box_have_no_influence(bicubic: bool) -> None:
    pixels = photographs()[0].copy()
    view = view_of(48, (100, 120, 90, 110), bicubic=bicubic)
    before = crop(pixels, view)
    outside = np.ones(pixels.shape[:2], bool)
    outside[100:190, 120:230] = False
    pixels[outside] = 255
    np.testing.assert_array_equal(crop(pixels, view), before)


@pytest.mark.parametrize("bicubic", [False, True])
def test_a_box_of_the_size_of_the_crop_is_copied(bicubic: bool) -> None:
    pixels = photographs()[1]
    ours = crop(pixels, view_of(97, (11, 13, 97, 97), bicubic=bicubic))
    np.testing.assert_array_equal(ours, pixels[11:108, 13:110])


@pytest.mark.parametrize("bicubic", [False, True])
@pytest.mark.parametrize("size", [7, 32])
def test_a_flip_mirrors_every_pixel(size: int, bicubic: bool) -> None:
    pixels, box = photographs()[2], (20, 30, 200, 180)
    mirrored = crop(pixels, view_of(size, box, flip=1, bicubic=bicubic))
    np.testing.assert_array_equal(mirrored, crop(pixels, view_of(size, box, bicubic=bicubic))[:, ::-1])


@pytest.mark.parametrize("bicubic", [False, True])
@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_can_be_a_window_of_a_larger_grid(bicubic: bool, flip: bool) -> None:
    pixels, box = photographs()[1], (0, 0, 400, 600)
    window = view_of(50, box, grid_height=120, grid_width=200, grid_top=31, grid_left=77, bicubic=bicubic, flip=flip)
    part = pillow(pixels, box, 120, 200, bicubic)[31:81, 77:127]
    assert np.abs(crop(pixels, window).astype(int) - (part[:, ::-1] if flip else part)).max() <= 1


@pytest.mark.parametrize("fields", [{"sigma": 1.5}, {"grayscale": 1}, {"jitter": 1, "saturation": 1.6}])
def test_colours_of_a_bicubic_crop_are_changed_like_those_of_the_same_pixels(fields: dict[str, float]) -> None:
    pixels = photographs()[0][:200, :200]
    plain = crop(np.ascontiguousarray(pixels), view_of(64, (0, 0, 200, 200), bicubic=1))
    changed = crop(np.ascontiguousarray(pixels), view_of(64, (0, 0, 200, 200), bicubic=1, **fields))
    assert np.abs(changed.astype(int) - crop(plain, view_of(64, (0, 0, 64, 64), **fields))).max() <= 1


def test_what_bicubic_overshoots_is_cut_off_after_each_pass() -> None:
    # Black and white pixels overshoot most. Cut off at the end only, or down first, some would be tens of levels away.
    pixels = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (60, 80, 3))
    for height, width in ((120, 160), (40, 70), (90, 50)):
        view = view_of(30, (0, 0, 60, 80), grid_height=height, grid_width=width, grid_top=5, grid_left=9, bicubic=1)
        theirs = pillow(pixels, (0, 0, 60, 80), height, width, True)[5:35, 9:39]
        assert np.abs(crop(pixels, view).astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_box_lies_where_it_lay_in_a_reduced_image(reduction: int) -> None:
    # A shift of half a reduced pixel, the usual mistake, costs more than 8 dB here.
    pixels = photograph(1003, 1201)
    reduced = np.array(Image.fromarray(pixels).reduce(reduction))
    view = view_of(60, (101, 203, 613, 777))
    assert decibels(crop(reduced, view, reduction), crop(pixels, view)) > 38


@pytest.mark.parametrize("bicubic", [False, True])
def test_a_constant_image_stays_constant(bicubic: bool) -> None:
    for level in (0, 1, 128, 254, 255):
        pixels = np.full((97, 131, 3), level, np.uint8)
        assert (crop(pixels, view_of(45, (3, 5, 91, 120), bicubic=bicubic)) == level).all()


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 31, 96])
def test_nothing_is_read_beside_the_image(size: int) -> None:
    # The image ends where memory that may not be read begins; whoever goes on reading there is killed.
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 64 * page)
    whole = np.frombuffer(memory, np.uint8)
    end = 48 * page
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(whole.ctypes.data + end), ctypes.c_size_t(16 * page), 0) == 0
    for height, width in ((1, 1), (1, 5), (3, 7), (60, 21), (60, 22), (200, 300)):
        pixels = whole[end - 3 * height * width : end].reshape(height, width, 3)
        pixels[:] = photograph(height, width)
        for box in ((0, 0, height, width), (height // 2, width // 2, height - height // 2, width - width // 2)):
            for bicubic in (False, True):
                ours = crop(pixels, view_of(size, box, bicubic=bicubic))
                assert np.abs(ours.astype(int) - pillow(pixels, box, size, size, bicubic)).max() <= 1


def exactly(pixels: np.ndarray, box: Box, size: int) -> np.ndarray:
    """The triangle filter in float64: every weight of every source pixel, straight from its definition."""
    top, left, height, width = box

    def weights(length: int) -> np.ndarray:
        scale = length / size
        centres = (np.arange(size) + 0.5) * scale
        distance = np.abs(np.arange(length) + 0.5 - centres[:, None]) / max(scale, 1.0)
        found = np.maximum(1 - distance, 0)
        return found / found.sum(1, keepdims=True)

    part = pixels[top : top + height, left : left + width].astype(np.float64)
    return np.einsum("yh,xw,hwc->yxc", weights(height), weights(width), part, optimize=True)


def test_a_crop_is_the_exact_filter_rounded() -> None:
    # 58.9 dB is what rounding to whole levels costs by itself; Pillow, which also rounds between its passes, has 56.
    random = np.random.default_rng(0)
    ours, pillows = [], []
    for pixels in photographs():
        for size in (33, 96, 160):
            height, width = random.integers(size // 2, min(pixels.shape[:2]) + 1, 2).tolist()
            box = (pixels.shape[0] - height, pixels.shape[1] - width, height, width)
            truth = exactly(pixels, box, size)
            made = crop(pixels, view_of(size, box))
            assert np.abs(made - truth).max() <= 0.501
            ours.append(decibels(made, truth))
            pillows.append(decibels(pillow(pixels, box, size, size), truth))
    assert min(ours) > 58.5
    assert np.median(ours) > np.median(pillows)


def test_against_a_sharper_filter_a_crop_is_as_close_as_pillows_bilinear() -> None:
    # What the choice of the filter costs, and no more: some 36 dB against Lanczos.
    for pixels in photographs():
        part = Image.fromarray(pixels).crop((20, 10, 320, 290))
        sharp = np.asarray(part.resize((96, 96), Image.Resampling.LANCZOS))
        ours = decibels(crop(pixels, view_of(96, (10, 20, 280, 300))), sharp)
        assert ours == pytest.approx(decibels(pillow(pixels, (10, 20, 280, 300), 96, 96), sharp), abs=0.3)
        assert ours > 28
