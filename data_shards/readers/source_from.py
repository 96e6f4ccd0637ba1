"""The reader that fits a word on a command line."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator

from data_shards import remote
from data_shards.errors import SourceError
from data_shards.index import LABEL_EXTENSION
from data_shards.readers import archives, tables
from data_shards.readers.archives import Archives
from data_shards.readers.image_folder import EXTENSIONS, ImageFolder, splits_in, unlistable
from data_shards.readers.image_list import ImageList
from data_shards.readers.patterns import PIPE, expand
from data_shards.readers.photographs import Photographs
from data_shards.readers.torchvision_dataset import TorchvisionDataset
from data_shards.readers.webdataset_tars import WebdatasetTars

_PEEK = 200  # members by which samples of WebDataset are told from image files in a tar

Words = ImageFolder.Config | ImageList.Config | Archives.Config | WebdatasetTars.Config | Photographs.Config
"""What a word can mean, beside the data sets of torchvision."""


def source_from(text: str, *, holdout: float = 0.0, tiles: bool = False) -> Words | TorchvisionDataset.Config:
    """The reader that fits a word on a command line. Raises `SourceError`.

    `holdout` is the share of samples that goes to the split "test" where there is none. With `tiles` a folder of
    pictures without classes is taken for photographs to cut tiles from.

    "photographs"              tiles of the photographs that scikit-image brings along
    "cifar10", "imagenette"    downloaded by torchvision
    x.txt .csv .jsonl .parquet a list of paths or URLs, also with .gz
    x.zip                      image files in a zip
    x.tar, x-{000..012}.tar.gz WebDataset tars; image files in tars where their members look like a folder's
    a folder with `train`, or with pictures in two or more folders: an image folder with classes
    a folder of tars or zips   those
    any other folder           an image folder without classes

    All but the photographs may be URLs, and all files several by a pattern with braces or stars.
    """
    if text == "photographs":
        return Photographs.Config()
    if text in ("cifar10", "imagenette"):
        return TorchvisionDataset.Config(dataset="cifar10" if text == "cifar10" else "imagenette")
    if remote.is_url(text):
        return _file(text, holdout) or _url(text, holdout)
    folder = os.path.expanduser(text)
    if not os.path.isdir(folder):
        source = _file(text, holdout)
        if source is None:
            found = (
                "is no folder of pictures, no list and no archive"
                if os.path.exists(folder)
                else "there is no such folder"
            )
            right = "give a folder of pictures, a list (.csv .txt .jsonl .parquet), a .tar, a .zip, a URL, or "
            raise SourceError(text, found, right + "photographs, cifar10 or imagenette")
        return source
    return _folder(text, folder, holdout, tiles)


def _file(text: str, holdout: float) -> Words | None:
    """The reader for a file, or a pattern, by the end of its name. Tars of samples say their splits themselves."""
    lower = text.lower().partition("?")[0] if remote.is_url(text) else text.lower()
    if text.startswith(PIPE):
        return WebdatasetTars.Config(path=text)
    if lower.endswith(".zip"):
        return Archives.Config(path=text, holdout=holdout)
    if lower.endswith(archives.ENDINGS) or ("{" in text and tables.ending_of(text) is None):
        return WebdatasetTars.Config(path=text) if _holds_samples(text) else Archives.Config(path=text, holdout=holdout)
    return ImageList.Config(path=text, holdout=holdout) if tables.ending_of(text) else None


def _url(url: str, holdout: float) -> Words:
    return ImageFolder.Config(path=url, holdout=0.0 if len(splits_in(url)) > 1 else holdout)


def _folder(text: str, folder: str, holdout: float, tiles: bool) -> Words:
    splits = splits_in(folder)
    if splits:
        return ImageFolder.Config(path=text, holdout=0.0 if len(splits) > 1 else holdout)
    classes = 0
    found: set[str] = set()
    try:
        with os.scandir(folder) as scan:
            for entry in scan:
                if entry.is_dir():
                    classes += next(_images_in(entry.path), None) is not None
                else:
                    found.update(ending for ending in archives.ENDINGS if entry.name.lower().endswith(ending))
                if classes == 2:
                    return ImageFolder.Config(path=text, holdout=holdout)
    except OSError as error:
        raise unlistable(text, error) from None
    if found and next(_images_in(folder), None) is None:
        ending = next(ending for ending in archives.ENDINGS if ending in found)
        archive = _file(os.path.join(text, f"*{ending}"), holdout)
        assert archive is not None, ending
        return archive
    return Photographs.Config(path=text) if tiles else ImageFolder.Config(path=text, holdout=holdout)


def _images_in(folder: str) -> Iterator[str]:
    """Files in a folder, at any depth, that look like images, in no order."""
    for _, _, names in os.walk(folder):
        for name in names:
            if os.path.splitext(name)[1].lower() in EXTENSIONS:
                yield name


def _holds_samples(text: str) -> bool:
    """Whether the first tar of a pattern looks like WebDataset's: members with a key, not files in folders.

    What cannot be read looks so too; the reader will say what is wrong with it.
    """
    images, facts = set(), set()
    try:
        first = expand(text, "tar")[0]
        with (
            remote.open_stream(first) if remote.is_url(first) else open(first, "rb") as stream,
            tarfile.open(fileobj=stream, mode="r|*") as tar,
        ):
            for _, member in zip(range(_PEEK), tar, strict=False):
                stem, _, extension = member.name.rpartition("/")[2].partition(".")
                key = (member.name.rpartition("/")[0], stem)
                if f".{extension.lower()}" in EXTENSIONS:
                    images.add(key)
                elif extension in (LABEL_EXTENSION, "json", "txt"):
                    facts.add(key)
    except (SourceError, OSError, EOFError, ValueError, tarfile.TarError):
        return True
    return bool(images & facts) or not any(folder for folder, _ in images)
