"""Colour on the device: for the same draws the same crops as the loader's kernels, but for one rounding."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from numpy.typing import NDArray

from data_shards.batch import Batch, Draw
from pipeline.views import Crops, Labelled, MultiCrop, Pair, Renderer, Views
from pipeline.views.colour import colour
from pipeline.views.draw import COLOURS, VIEW
from tests.pipeline.views.photographs import coloured, decibels, encoded, photograph, photographs, view_of
from tests.pipeline.views.test_photometric import OPERATIONS, ROUNDING, difference, floats, levels

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
KINDS = (Crops(count=2, size=64, scale=(0.3, 1.0)), Crops(count=3, size=33, scale=(0.05, 0.3)))
CONFIGS = [
    (MultiCrop.Config, {"crops": KINDS, "solarise": 0.2}),
    (Pair.Config, {"size": 48}),
    (Labelled.Config, {"size": 40, "jitter": 0.8, "grayscale": 0.3}),
]


def batch_of(transform: Renderer, rows: int, spare: int = 0) -> Batch:
    """Some photographs through a transform, in arrays with room for more rows."""
    arrays = transform.allocate(rows + spare)
    sources = [encoded(pixels, "BMP") for pixels in photographs()]
    for row in range(rows):
        transform.write(sources[row % 3], Draw(5, 1, row), arrays, row)
    numbers = np.arange(rows)
    return Batch(tuple(array[:, :rows] for array in arrays), numbers, -np.ones(rows, np.int64), 0, rows, 0.0)


def on_device(pixels: NDArray[np.uint8], device: str = "cpu", **fields: Any) -> NDArray[np.uint8]:
    """A square image with its colours changed as `photographs.coloured` does it."""
    view = view_of(len(pixels), (0, 0, len(pixels), len(pixels)), **fields)
    draws = np.zeros((1, 1), COLOURS)
    for name in COLOURS.names or ():
        draws[name] = view[name]
    crops = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None, None].to(device)
    return colour(crops, draws)[0, 0].permute(1, 2, 0).cpu().numpy()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("config", "settings"), CONFIGS)
def test_crops_are_those_of_the_loader_but_for_rounding(config: Any, settings: dict[str, Any], device: str) -> None:
    on_cpu = Views.of(batch_of(config(**settings).build(), 30))
    later = Views.of(batch_of(config(**settings, photometric="device").build(), 30, spare=3))
    assert on_cpu.colours is None
    assert later.colours is not None
    done = later.to(device).coloured()
    assert done.colours is None
    ratios = []
    for ours, theirs in zip(done.crops, on_cpu.crops, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == torch.uint8
        assert ours.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
        for a, b in zip(ours.flatten(0, 1), theirs.flatten(0, 1), strict=True):
            ratios.append(decibels(a.cpu().numpy(), b.numpy()))
    assert np.median(ratios) > 51
    assert min(ratios) > 40


def test_the_loader_then_does_geometry_alone() -> None:
    settings: dict[str, Any] = {"jitter": 0.0, "grayscale": 0.0, "blur": 0.0}
    plain = batch_of(MultiCrop.Config(crops=KINDS, **settings).build(), 8)
    later = batch_of(MultiCrop.Config(crops=KINDS, photometric="device").build(), 8)
    assert [array.shape for array in later.arrays] == [(2, 8, 64, 64, 3), (3, 8, 33, 33, 3), (5, 8, COLOURS.itemsize)]
    for a, b in zip(plain.arrays, later.arrays, strict=False):
        np.testing.assert_array_equal(a, b)


def test_what_travels_is_what_was_drawn() -> None:
    transform = MultiCrop.Config(crops=KINDS, solarise=0.3, photometric="device").build()
    colours = Views.of(batch_of(transform, 12)).colours
    assert colours is not None
    drawn = np.zeros(5, VIEW)
    for row in range(12):
        transform.lay_out(Draw(5, 1, row), *photographs()[row % 3].shape[:2], drawn)
        for name in COLOURS.names or ():
            np.testing.assert_array_equal(colours[name][:, row], drawn[name])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("operation", "factor"),
    [
        *((name, factor) for name in ("brightness", "contrast", "saturation") for factor in (0.0, 0.2, 0.7, 1.3, 1.8)),
        *(("hue", factor) for factor in (-0.5, -0.2, -0.03, 0.1, 0.2, 0.5)),
    ],
)
def test_each_operation_is_torchvisions(operation: str, factor: float, device: str) -> None:
    for number in range(3):
        pixels = photograph(61, 61, number)
        expected = levels(dict(OPERATIONS)[operation](floats(pixels), factor))
        assert difference(on_device(pixels, device, jitter=1, **{operation: factor}), expected) <= ROUNDING


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (1, 3, 0, 2)])
def test_operations_come_in_the_drawn_order(order: tuple[int, ...]) -> None:
    factors = {"brightness": 1.4, "contrast": 0.6, "saturation": 1.7, "hue": -0.15}
    pixels = photograph(48, 48, 1)
    image = floats(pixels)
    for number in order:
        name, function = OPERATIONS[number]
        image = function(image, factors[name])
    assert difference(on_device(pixels, jitter=1, order=order, **factors), levels(image)) <= ROUNDING


@pytest.mark.parametrize(
    "fields",
    [
        *({"sigma": sigma} for sigma in (0.1, 0.3, 1.0, 2.0, 4.0)),
        {"grayscale": 1},
        {"solarise": 1},
        {"jitter": 1, "hue": 0.2, "grayscale": 1, "sigma": 1.3, "solarise": 1},
    ],
)
@pytest.mark.parametrize("size", [1, 3, 16, 75])
def test_grayscale_blur_and_solarisation_are_the_kernels(fields: dict[str, Any], size: int) -> None:
    # Nothing is rounded between operations on either side; beside a rounding or the threshold a level may turn over.
    pixels = photograph(size, size, 2)
    ours, theirs = on_device(pixels, **fields).astype(int), coloured(pixels, **fields).astype(int)
    other = np.abs(ours - theirs)
    assert (other > 1).mean() < 0.002
    assert (other > 0).mean() < 0.01


def test_autocast_leaves_every_level_in_its_place() -> None:
    pixels, fields = photograph(64, 64), {"jitter": 1, "contrast": 0.7, "hue": 0.1, "sigma": 1.2}
    with torch.autocast("cpu", torch.bfloat16):
        under = on_device(pixels, **fields)
    np.testing.assert_array_equal(under, on_device(pixels, **fields))


def test_a_crop_does_not_depend_on_the_batch_it_is_in() -> None:
    views = Views.of(batch_of(MultiCrop.Config(crops=KINDS, photometric="device").build(), 16))
    assert views.colours is not None
    together = views.coloured().crops[0]
    for row in range(16):
        alone = colour(views.crops[0][:, row : row + 1], views.colours[:2, row : row + 1])
        # The widest blur of a batch sets the number of taps, so sums may round otherwise.
        assert (alone[:, 0].int() - together[:, row].int()).abs().max() <= 1


def test_crops_stay_as_they_are_where_nothing_is_drawn_or_no_row_is_left() -> None:
    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 3, 9, 9), np.uint8))
    assert torch.equal(colour(crops, np.zeros((2, 3), COLOURS)), crops)
    assert colour(crops[:, :0], np.zeros((2, 0), COLOURS)).shape == (2, 0, 3, 9, 9)


def test_the_batch_of_the_loader_is_left_as_it_is() -> None:
    batch = batch_of(Pair.Config(size=16, photometric="device").build(), 4)
    before = [array.copy() for array in batch.arrays]
    Views.of(batch).coloured()
    for a, b in zip(batch.arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    # On the meta device there are no values to wait for: whatever asks for one fails. Nor is there autocast.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    views = Views.of(batch_of(MultiCrop.Config(crops=KINDS, solarise=0.2, photometric="device").build(), 6))
    done = views.to("meta").coloured()
    assert [tuple(crops.shape) for crops in done.crops] == [(2, 6, 3, 64, 64), (3, 6, 3, 33, 33)]


def test_grayscale_keeps_torchvisions_weights() -> None:
    pixels = photograph(30, 30)
    grey = on_device(pixels, grayscale=1)
    assert (grey == grey[..., :1]).all()
    assert difference(grey, levels(reference.rgb_to_grayscale(floats(pixels), 3))) <= ROUNDING
