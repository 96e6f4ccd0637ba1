"""A few photographs, cut into many small tiles: real images to learn from where there is no data set.

- Each photograph is divided by a grid; some of its cells give test tiles only and the others train tiles only, so no
  pixel is in both.
- A tile is a square of random place and size from one cell, scaled to `tile` pixels. Nearly flat ones are drawn anew.
- Its brightness and contrast are set at random, and its colours turned and faded at random, so that what tells one
  photograph from another is texture and shape and not its colour.
- Its label is the photograph. Every draw is keyed by (seed, photograph, tile), so tiles do not depend on one another.
"""

from __future__ import annotations

import difflib
import hashlib
import heapq
import importlib.util
import math
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_shards import images
from data_shards.errors import ImageError, SourceError
from data_shards.readers.image_folder import ImageFolder
from data_shards.readers.reader import Entry, Reader
from data_shards.splitmix import key_of, uniform

BUNDLED = (
    *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "grass.png"),
    *("gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg"),
    *("rocket.jpg", "text.png"),
)
"""Photographs in the wheel of scikit-image; its other pictures are drawings, or are downloaded."""

T = TypeVar("T")
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
# Rows: the grey axis, then two that span the plane of colours around it; turning in that plane turns the hue.
_TO_PLANE = np.array([[1, -0.5, -0.5], [0, 3**0.5 / 2, -(3**0.5) / 2]], np.float32)
_FROM_PLANE = np.linalg.pinv(_TO_PLANE).astype(np.float32)


class Photographs(Reader):
    """Cuts tiles from photographs."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Tiles cut from photographs."""

        name: Literal["photographs"] = "photographs"
        path: str | None = None
        """Folder of photographs; without one, those that scikit-image brings along."""
        photographs: int = 16
        """How many photographs of the folder to use."""
        only: tuple[str, ...] = ()
        """Names of the photographs to use, without their extension; empty for any."""
        longest_side: int = 1024
        """Larger photographs are first scaled down to this many pixels on their longer side."""
        train: int = 240
        """Train tiles per photograph."""
        test: int = 80
        """Test tiles per photograph."""
        tile: int = 48
        """Side of a tile in pixels."""
        zoom: tuple[float, float] = (1.0, 2.0)
        """Side of the square a tile is cut from, in tiles: smallest and largest."""
        grid: int = 4
        """Cells along each side of a photograph; one in four of them is for test tiles."""
        flat: float = 0.03
        """Tiles whose grey values (0 to 1) have a standard deviation below this are drawn anew."""
        brightness: tuple[float, float] = (0.35, 0.65)
        """Mean grey value of a tile, 0 to 1: smallest and largest."""
        contrast: tuple[float, float] = (0.08, 0.24)
        """Standard deviation of the grey values of a tile, 0 to 1: smallest and largest."""
        saturation: tuple[float, float] = (0.0, 0.0)
        """Strength of the colours of a tile, 0 for grey, 1 for those of the photograph: smallest and largest."""
        hue: bool = True
        """Turn the colours of a tile by a random angle."""
        quality: int = 95
        """JPEG quality of a tile, 1 to 100."""
        seed: int = 0
        """Seed of all draws."""

        def __post_init__(self) -> None:
            if self.tile < 8 or self.grid < 2 or self.photographs < 1 or self.train < 1 or self.test < 0:
                raise ValueError("tile must be at least 8, grid 2, photographs 1, train 1 and test 0")
            for name in ("zoom", "brightness", "contrast", "saturation"):
                low, high = getattr(self, name)
                if not 0 <= low <= high:
                    raise ValueError(f"{name} is a smallest and a largest value, not {low} and {high}")

        def build(self) -> Photographs:
            """The reader. Raises `SourceError` where the folder holds no photograph that is large enough."""
            return Photographs(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.files = self._choose()
        self._decoded: dict[str, Image.Image] = {}
        self._lock = threading.Lock()

    def entries(self) -> Iterator[Entry]:
        for label in self.files:
            for split, count in (("train", self.config.train), ("test", self.config.test)):
                for number in range(count):
                    yield Entry(f"{label}/{split}/{number:05d}.jpg", split, label, (label, split, number))

    def read(self, entry: Entry) -> bytes:
        label, split, number = entry.location
        return images.encode_jpeg(self.tile(label, split, number), self.config.quality)

    @property
    def title(self) -> str:
        return self.config.path or "photographs"

    def describe(self) -> dict[str, Any]:
        files = {label: _hash(path.read_bytes()) for label, path in self.files.items()}
        return {**asdict(self.config), "files": files}

    def tile(self, label: str, split: str, number: int) -> NDArray[np.uint8]:
        """One tile: uint8 RGB (tile, tile, 3)."""
        photograph = self._photograph(label)
        key = key_of(self.config.seed, int(_hash(label), 16), split == "test", number)
        for attempt in range(32):
            draws = uniform(8, key_of(key, attempt))
            pixels = self._cut(photograph, split, draws[:4])
            if float((pixels @ _GREY).std()) >= self.config.flat:
                break
        return self._recolour(pixels, draws[4:])

    def _cut(self, photograph: Image.Image, split: str, draws: NDArray[np.float64]) -> NDArray[np.float32]:
        """A square of one of the cells of a split, float RGB 0 to 1."""
        config, (width, height) = self.config, photograph.size
        cells = self._cells[split]
        row, column = cells[int(draws[0] * len(cells))]
        left, right = column * width // config.grid, (column + 1) * width // config.grid
        top, bottom = row * height // config.grid, (row + 1) * height // config.grid
        low, high = config.zoom
        side = min(round(config.tile * low * (high / low) ** float(draws[1])), right - left, bottom - top)
        x = left + int(draws[2] * (right - left - side + 1))
        y = top + int(draws[3] * (bottom - top - side + 1))
        square = photograph.crop((x, y, x + side, y + side))  # before scaling, whose filter would look beyond the cell
        scaled = square.resize((config.tile, config.tile), Image.Resampling.BICUBIC)
        return np.asarray(scaled, np.float32) / np.float32(255)

    def _recolour(self, pixels: NDArray[np.float32], draws: NDArray[np.float64]) -> NDArray[np.uint8]:
        config = self.config
        brightness, contrast, saturation = (
            low + (high - low) * float(draw)
            for (low, high), draw in zip(
                (config.brightness, config.contrast, config.saturation), draws[:3], strict=True
            )
        )
        angle = 2 * math.pi * float(draws[3]) * config.hue
        grey = pixels @ _GREY
        gain = contrast / max(float(grey.std()), 1e-3)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], np.float32)
        colours = (pixels - grey[..., None]) @ (_FROM_PLANE @ turn @ _TO_PLANE).T.astype(np.float32)
        result = brightness + (grey - grey.mean())[..., None] * gain + colours * (min(gain, 2.0) * saturation)
        return np.asarray(np.clip(result, 0, 1) * 255 + 0.5, np.uint8)

    @cached_property
    def _cells(self) -> dict[str, list[tuple[int, int]]]:
        """Row and column of the cells of each split: one in four is for test, spread over rows and columns."""
        cells: dict[str, list[tuple[int, int]]] = {"train": [], "test": []}
        for row in range(self.config.grid):
            for column in range(self.config.grid):
                cells["test" if (column - 2 * row - row // 2) % 4 == 0 else "train"].append((row, column))
        return cells

    def _photograph(self, label: str) -> Image.Image:
        with self._lock:
            image = self._decoded.get(label)
            if image is None:
                image = Image.fromarray(images.decode(self.files[label].read_bytes()))
                image.thumbnail((self.config.longest_side,) * 2, Image.Resampling.LANCZOS)
                image.load()
                self._decoded[label] = image
            return image

    def _choose(self) -> dict[str, Path]:
        """The photographs by label, in the order of their labels."""
        if self.config.path is None:
            found = importlib.util.find_spec("skimage")
            if found is None or found.origin is None:
                raise SourceError("photographs", "scikit-image is not installed", "install it, or give path=")
            wheel = Path(found.origin).parent / "data"
            bundled = {name.rpartition(".")[0]: wheel / name for name in BUNDLED}
            return self._selected(bundled) if self.config.only else bundled
        folder = ImageFolder.Config(path=self.config.path, labels=False).build()
        listed = folder.entries()
        if self.config.only:
            listed = iter(self._selected({Path(entry.name).stem: entry for entry in listed}).values())
        count = len(self.config.only) or self.config.photographs
        chosen: dict[str, Path] = {}
        reasons: list[str] = []
        # A choice by hash: the same for the same names, and from all over the folder. Not all of them may do.
        for entry in heapq.nsmallest(20 * count, listed, key=lambda entry: _hash(entry.name)):
            if len(chosen) == count:
                break
            reason = self._unfit(path := Path(folder.path_of(entry)))
            if reason is None:
                label = Path(entry.name).stem
                chosen[label if label not in chosen else entry.name] = path
            else:
                reasons.append(f"{entry.name} is {reason}")
        if not chosen:
            raise SourceError(folder.root, f"holds no photograph to cut tiles from: {reasons[0]}", self._fit)
        return dict(sorted(chosen.items()))

    def _selected(self, photographs: dict[str, T]) -> dict[str, T]:
        """Those that `only` names."""
        for name in self.config.only:
            if name not in photographs:
                near = difflib.get_close_matches(name, photographs, 3) or sorted(photographs)
                raise SourceError("photographs.only", f"there is no {name!r}", f"there is {', '.join(near)}")
        return {name: photographs[name] for name in self.config.only}

    @property
    def _fit(self) -> str:
        return f"each side must have at least {self.config.grid * self.config.tile} pixels"

    def _unfit(self, path: Path) -> str | None:
        """Why a file gives no tiles."""
        try:
            height, width = images.check(path.read_bytes()).upright
        except (OSError, ImageError) as error:
            return f"unreadable ({error})"
        scale = min(1.0, self.config.longest_side / max(height, width))
        if min(height, width) * scale < self.config.grid * self.config.tile:
            return f"too small ({width}×{height} pixels)"
        return None


def _hash(content: bytes | str) -> str:
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:16]
