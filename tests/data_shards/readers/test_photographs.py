"""Tiles from photographs: repeatable, from disjoint regions, and told apart by more than their colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_shards import images
from data_shards.errors import SourceError
from data_shards.readers.photographs import Photographs
from tests.data_shards.pictures import encode, pixels


def folder(root: Path, sizes: list[tuple[int, int]]) -> Path:
    root.mkdir()
    for number, (height, width) in enumerate(sizes):
        (root / f"p{number}.png").write_bytes(encode(pixels(number, height, width), "PNG"))
    return root


def test_the_bundled_photographs_give_tiles_of_both_splits() -> None:
    reader = Photographs.Config(train=3, test=2).build()
    entries = list(reader.entries())
    classes = {entry.label for entry in entries}
    assert len(entries) == 5 * len(classes)
    assert {"astronaut", "coffee", "rocket"} <= classes
    for entry in entries[:5]:
        assert images.decode(reader.read(entry)).shape == (48, 48, 3)
    assert [entry.split for entry in entries[:5]] == ["train"] * 3 + ["test"] * 2


def test_the_same_tile_is_the_same_bytes_in_any_order_and_other_seeds_differ() -> None:
    first, second, other = (Photographs.Config(seed=seed, train=4, test=1).build() for seed in (0, 0, 1))
    entries = list(first.entries())[:10]
    tiles = [first.read(entry) for entry in entries]
    assert [second.read(entry) for entry in reversed(entries)] == tiles[::-1]
    assert len(set(tiles)) == 10
    assert all(a != other.read(entry) for a, entry in zip(tiles, entries, strict=True))


def test_train_and_test_tiles_share_no_pixel(tmp_path: Path) -> None:
    """A photograph with white test cells and black train cells gives white and black tiles, to the last pixel."""
    config = Photographs.Config(
        path=str(folder(tmp_path / "x", [(203, 317)])), tile=16, train=60, test=30, flat=0, zoom=(0.5, 3.0)
    )
    reader = config.build()
    cells = np.zeros((203, 317, 3), np.uint8)
    for row, column in reader._cells["test"]:
        cells[row * 203 // 4 : (row + 1) * 203 // 4, column * 317 // 4 : (column + 1) * 317 // 4] = 255
    reader._decoded["p0"] = Image.fromarray(cells)
    for split, value in (("train", 0), ("test", 1)):
        for number in range(60):
            cut = reader._cut(reader._decoded["p0"], split, np.random.default_rng(number).random(4))
            assert (cut == value).all()
    assert len(reader._cells["test"]) == 4
    assert len({row for row, _ in reader._cells["test"]}) == 4, "one in each row"


def test_brightness_and_contrast_are_those_asked_for() -> None:
    reader = Photographs.Config(brightness=(0.5, 0.5), contrast=(0.1, 0.1), saturation=(0, 0)).build()
    tiles = np.stack([reader.tile("coffee", "train", number) for number in range(20)]) / 255.0
    assert np.abs(tiles.mean((1, 2, 3)) - 0.5).max() < 0.02
    assert np.abs(tiles.std((1, 2, 3)) - 0.1).max() < 0.02
    assert (tiles.std(-1) < 0.01).all(), "without saturation a tile is grey"


def test_colours_are_turned_and_luminance_stays() -> None:
    reader = Photographs.Config(saturation=(0.3, 0.3)).build()
    photograph = reader._photograph("coffee")
    cut = reader._cut(photograph, "train", np.array([0.5, 0.5, 0.5, 0.5]))
    tiles = [reader._recolour(cut, np.array([0.5, 0.5, 0.5, angle])) / 255.0 for angle in (0.0, 0.3, 0.6)]
    grey = [tile @ np.array([0.299, 0.587, 0.114]) for tile in tiles]
    assert np.abs(grey[0] - grey[1]).mean() < 0.05
    assert np.abs(tiles[0] - tiles[1]).mean() > 0.01


def test_a_folder_gives_a_repeatable_choice_of_its_large_enough_photographs(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", [(200, 210)] * 20 + [(90, 400)] * 3)
    (root / "broken.jpg").write_bytes(b"no image")
    chosen = Photographs.Config(path=str(root), train=1, test=1).build()
    assert list(chosen.files) == list(Photographs.Config(path=str(root), train=1, test=1).build().files)
    assert len(chosen.files) == 16
    assert not {"p20", "p21", "p22", "broken"} & set(chosen.files)
    all_fit = Photographs.Config(path=str(root), photographs=100).build()
    assert len(all_fit.files) == 20


def test_photographs_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    folder(tmp_path / "a", [(200, 210)])
    folder(tmp_path / "b", [(220, 210)])
    assert len(Photographs.Config(path=str(tmp_path)).build().files) == 2


def test_photographs_can_be_named(tmp_path: Path) -> None:
    assert list(Photographs.Config(only=("moon", "brick")).build().files) == ["moon", "brick"]
    with pytest.raises(SourceError, match="there is no 'astronat'; there is astronaut"):
        Photographs.Config(only=("astronat",)).build()
    root = folder(tmp_path / "own", [(200, 210)] * 4)
    assert list(Photographs.Config(path=str(root), only=("p2",)).build().files) == ["p2"]


def test_photographs_that_are_all_too_small_are_a_sentence(tmp_path: Path) -> None:
    root = folder(tmp_path / "small", [(50, 60)])
    with pytest.raises(SourceError, match=r"too small \(60×50 pixels\); each side must have at least 192 pixels"):
        Photographs.Config(path=str(root)).build()


@pytest.mark.parametrize("wrong", [{"tile": 4}, {"zoom": (2.0, 1.0)}, {"grid": 1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Photographs.Config(**wrong)  # type: ignore[arg-type]
