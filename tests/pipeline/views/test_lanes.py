"""Sixteen floats at once: NumPy is the reference."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.views.lanes import added, load, load_bytes, plus, store, transpose, zeros

Floats = NDArray[np.float32]


@numba.njit
def combined(a: Floats, i: Any, pixels: NDArray[np.uint8], j: Any, weight: Any, out: Floats, o: Any) -> None:
    store(out, o, plus(added(load(a, i), zeros()), weight, load_bytes(pixels, j)))


@numba.njit
def turned(a: Floats, i: Any, step: Any, out: Floats, o: Any, out_step: Any) -> None:
    transpose(a, i, step, out, o, out_step)


@pytest.mark.parametrize("offset", [0, 1, 5, 16])
def test_sixteen_floats_are_read_weighted_and_written_and_no_other(offset: int) -> None:
    random = np.random.default_rng(offset)
    a, pixels = random.normal(size=64).astype(np.float32), random.integers(0, 256, 64, np.uint8)
    out = np.full(64, -1, np.float32)
    combined(a, np.uint64(offset), pixels, np.uint64(2 * offset), np.float32(0.7), out, np.uint64(3 + offset))
    expected = np.full(64, -1, np.float32)
    expected[3 + offset : 19 + offset] = (
        a[offset : offset + 16] + np.float32(0.7) * pixels[2 * offset : 2 * offset + 16]
    )
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("step", "out_step"), [(8, 8), (13, 8), (8, 21), (64, 160)])
def test_a_block_is_turned_over(step: int, out_step: int) -> None:
    a = np.arange(3 + 8 * step, dtype=np.float32)
    out = np.full(5 + 8 * out_step, -1, np.float32)
    turned(a, np.uint64(3), np.uint64(step), out, np.uint64(5), np.uint64(out_step))
    expected = out.copy()
    for row in range(8):
        for column in range(8):
            expected[5 + column * out_step + row] = a[3 + row * step + column]
    np.testing.assert_array_equal(out, expected)
    assert (out != -1).sum() == 64
