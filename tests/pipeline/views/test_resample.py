"""Resizing, through the compiled code that ships: Pillow is the reference."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.views.photographs import Box, crop, decibels, photograph, photographs, view_of


def pillow(pixels: np.ndarray, box: Box, height: int, width: int) -> np.ndarray:
    top, left, box_height, box_width = box
    part = Image.fromarray(pixels).crop((left, top, left + box_width, top + box_height))
    return np.asarray(part.resize((width, height), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 33, 96, 160, 224])
def test_a_crop_is_pillows_to_one_grey_level(size: int) -> None:
    random = np.random.default_rng(size)
    for pixels in photographs():
        for _ in range(4):
            height, width = random.integers(1, pixels.shape[0] + 1), random.integers(1, pixels.shape[1] + 1)
            top, left = (
                random.integers(0, pixels.shape[0] - height + 1),
                random.integers(0, pixels.shape[1] - width + 1),
            )
            box = (int(top), int(left), int(height), int(width))
            ours, theirs = crop(pixels, view_of(size, box)), pillow(pixels, box, size, size)
            assert np.abs(ours.astype(int) - theirs).max() <= 1
            assert decibels(ours, theirs) > 52


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (7, 1), (2, 2), (1, 500), (3000, 5)])
@pytest.mark.parametrize("size", [1, 4, 6, 16])
def test_tiny_and_thin_images_are_resized(height: int, width: int, size: int) -> None:
    pixels = photograph(height, width)
    box = (0, 0, height, width)
    assert np.abs(crop(pixels, view_of(size, box)).astype(int) - pillow(pixels, box, size, size)).max() <= 1


def test_hundreds_of_taps_are_summed() -> None:
    pixels = photograph(1500, 2600)
    box = (0, 0, 1500, 2600)
    for size in (1, 3, 8):
        assert np.abs(crop(pixels, view_of(size, box)).astype(int) - pillow(pixels, box, size, size)).max() <= 1


def test_pixels_outside_the_box_have_no_influence() -> None:
    pixels = photographs()[0].copy()
    view = view_of(48, (100, 120, 90, 110))
    before = crop(pixels, view)
    outside = np.ones(pixels.shape[:2], bool)
    outside[100:190, 120:230] = False
    pixels[outside] = 255
    np.testing.assert_array_equal(crop(pixels, view), before)


def test_a_box_of_the_size_of_the_crop_is_copied() -> None:
    pixels = photographs()[1]
    np.testing.assert_array_equal(crop(pixels, view_of(97, (11, 13, 97, 97))), pixels[11:108, 13:110])


@pytest.mark.parametrize("size", [7, 32])
def test_a_flip_mirrors_every_pixel(size: int) -> None:
    pixels, box = photographs()[2], (20, 30, 200, 180)
    mirrored = crop(pixels, view_of(size, box, flip=1))
    np.testing.assert_array_equal(mirrored, crop(pixels, view_of(size, box))[:, ::-1])


def test_a_crop_can_be_a_window_of_a_larger_grid() -> None:
    pixels, box = photographs()[1], (0, 0, 400, 600)
    window = view_of(50, box, grid_height=120, grid_width=200, grid_top=31, grid_left=77)
    whole = pillow(pixels, box, 120, 200)
    assert np.abs(crop(pixels, window).astype(int) - whole[31:81, 77:127]).max() <= 1


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_box_lies_where_it_lay_in_a_reduced_image(reduction: int) -> None:
    # A shift of half a reduced pixel, the usual mistake, costs more than 8 dB here.
    pixels = photograph(1003, 1201)
    reduced = np.array(Image.fromarray(pixels).reduce(reduction))
    view = view_of(60, (101, 203, 613, 777))
    assert decibels(crop(reduced, view, reduction), crop(pixels, view)) > 38


def test_a_constant_image_stays_constant() -> None:
    for level in (0, 1, 128, 254, 255):
        pixels = np.full((97, 131, 3), level, np.uint8)
        assert (crop(pixels, view_of(45, (3, 5, 91, 120))) == level).all()


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
            ours = crop(pixels, view_of(size, box))
            assert np.abs(ours.astype(int) - pillow(pixels, box, size, size)).max() <= 1
