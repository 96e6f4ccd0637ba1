"""Data sets that torchvision downloads by itself: the only file here that imports torch, and only when it is used.

`cifar10` keeps its exact pixels as PNG; `imagenette` (ten ImageNet classes, 160 pixels) keeps its JPEG files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from data_shards import images
from data_shards.errors import SourceError
from data_shards.readers.image_folder import ImageFolder
from data_shards.readers.reader import Entry, Reader

IMAGENETTE_CLASSES = {
    "n01440764": "tench",
    "n02102040": "english_springer",
    "n02979186": "cassette_player",
    "n03000684": "chain_saw",
    "n03028079": "church",
    "n03394916": "french_horn",
    "n03417042": "garbage_truck",
    "n03425413": "gas_pump",
    "n03445777": "golf_ball",
    "n03888257": "parachute",
}


class TorchvisionDataset(Reader):
    """Downloads a data set where it is not there yet, and reads it."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """A data set that torchvision downloads."""

        name: Literal["torchvision"] = "torchvision"
        dataset: Literal["cifar10", "imagenette"] = "cifar10"
        """Which data set."""
        path: str = "~/.cache/data_shards"
        """Folder to keep the download in."""

        def build(self) -> TorchvisionDataset:
            """The reader, after the download. Raises `SourceError` where there is no network."""
            return TorchvisionDataset(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = Path(config.path).expanduser()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._source = _Cifar10(self.folder) if config.dataset == "cifar10" else _imagenette(self.folder)
        except SourceError:
            raise
        except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError for a damaged or missing download
            raise SourceError(
                config.dataset,
                f"could not be downloaded to {self.folder} ({error})",
                "connect to the network, or give a folder of your own pictures",
            ) from None

    def entries(self) -> Iterator[Entry]:
        return self._source.entries()

    def read(self, entry: Entry) -> bytes:
        return self._source.read(entry)

    @property
    def title(self) -> str:
        return str(self.config.dataset)

    def describe(self) -> dict[str, Any]:
        return asdict(self.config)


class _Cifar10(Reader):
    def __init__(self, folder: Path) -> None:
        from torchvision.datasets import CIFAR10  # imports torch

        self._sets = {split: CIFAR10(folder, train=split == "train", download=True) for split in ("train", "test")}

    def entries(self) -> Iterator[Entry]:
        for split, dataset in self._sets.items():
            for number, target in enumerate(dataset.targets):
                label = dataset.classes[target]
                yield Entry(f"{split}/{label}/{number:05d}.png", split, label, number)

    def read(self, entry: Entry) -> bytes:
        return images.encode_png(self._sets[entry.split].data[entry.location])

    @property
    def title(self) -> str:
        return "cifar10"

    def describe(self) -> dict[str, Any]:
        return {}


class _Imagenette(ImageFolder):
    """An image folder whose classes have their English names."""

    def entries(self) -> Iterator[Entry]:
        for entry in super().entries():
            yield entry._replace(label=IMAGENETTE_CLASSES.get(entry.label or "", entry.label))


def _imagenette(folder: Path) -> Reader:
    root = folder / "imagenette2-160"
    if not root.is_dir():
        from torchvision.datasets import Imagenette  # imports torch

        Imagenette(folder, split="train", size="160px", download=True)
    return _Imagenette(ImageFolder.Config(path=str(root)))
