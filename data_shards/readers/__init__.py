"""Kinds of input. A new one is a file here with a `Reader` and its `Config`, and a line in `Source`.

reader.py               what a reader must do
image_folder.py         a folder of image files, with or without classes and splits
photographs.py          tiles cut from a few photographs
torchvision_dataset.py  data sets that torchvision downloads
webdataset_tars.py      existing WebDataset tars
"""

from __future__ import annotations

import os
from pathlib import Path

from data_shards.errors import SourceError
from data_shards.readers.image_folder import EXTENSIONS, ImageFolder, splits_in
from data_shards.readers.photographs import Photographs
from data_shards.readers.reader import Entry, Reader, Survey
from data_shards.readers.torchvision_dataset import TorchvisionDataset
from data_shards.readers.webdataset_tars import WebdatasetTars

__all__ = ["Entry", "Reader", "Source", "Survey", "source_from"]

Source = ImageFolder.Config | Photographs.Config | TorchvisionDataset.Config | WebdatasetTars.Config
"""What `source` may be in a recipe; `name` says which."""

HOLDOUT = 0.2
"""Share held out for the split "test" where a folder of classes has none."""


def source_from(text: str) -> Source:
    """The reader that fits a word on a command line. Raises `SourceError`.

    "photographs"             tiles of the photographs that scikit-image brings along
    "cifar10", "imagenette"   downloaded by torchvision
    x.tar, x-{000..012}.tar   WebDataset tars
    a folder with `train`, or with pictures in two or more folders: an image folder with classes
    any other folder          tiles cut from its photographs
    """
    if text == "photographs":
        return Photographs.Config()
    if text in ("cifar10", "imagenette"):
        return TorchvisionDataset.Config(dataset="cifar10" if text == "cifar10" else "imagenette")
    if text.endswith((".tar", ".tar.gz", ".tgz")) or "{" in text:
        return WebdatasetTars.Config(path=text)
    folder = Path(text).expanduser()
    if not folder.is_dir():
        found = "is no folder of pictures and no tar" if folder.exists() else "there is no such folder"
        raise SourceError(text, found, "give a folder of pictures, a .tar, or photographs, cifar10 or imagenette")
    if "train" in splits_in(folder).values():
        return ImageFolder.Config(path=text, holdout=0.0 if len(splits_in(folder)) > 1 else HOLDOUT)
    try:
        with os.scandir(folder) as scan:
            inside = list(scan)
    except OSError as error:
        raise SourceError(text, f"cannot be listed ({error.strerror})", "make it readable") from None
    if sum(_holds_images(entry.path) for entry in inside if entry.is_dir()) >= 2:
        return ImageFolder.Config(path=text, holdout=HOLDOUT)
    if any(entry.name.endswith(".tar") for entry in inside) and not _holds_images(text):
        return WebdatasetTars.Config(path=os.path.join(text, "*.tar"))
    return Photographs.Config(path=text)


def _holds_images(folder: str) -> bool:
    """Whether a folder, at any depth, holds a file that looks like an image."""
    for _, _, names in os.walk(folder):
        if any(os.path.splitext(name)[1].lower() in EXTENSIONS for name in names):
            return True
    return False
