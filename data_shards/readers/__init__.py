"""Kinds of input. A new one is a file here with a `Reader` and its `Config`, and a line in `Source`.

reader.py               what a reader must do
image_folder.py         a folder of image files, with or without classes and splits, also at a URL
image_list.py           paths or URLs in a text, CSV, JSON lines or Parquet file      tables.py    their rows
archives.py             image files in tars and zips            spool.py     local copies of remote and packed ones
webdataset_tars.py      existing WebDataset tars                patterns.py  many files in one word
photographs.py          tiles cut from a few photographs
torchvision_dataset.py  data sets that torchvision downloads
source_from.py          the reader that fits a word on a command line
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

from data_shards.readers.archives import Archives
from data_shards.readers.image_folder import ImageFolder
from data_shards.readers.image_list import ImageList
from data_shards.readers.photographs import Photographs
from data_shards.readers.reader import Entry, Reader
from data_shards.readers.source_from import source_from
from data_shards.readers.torchvision_dataset import TorchvisionDataset
from data_shards.readers.webdataset_tars import WebdatasetTars

__all__ = ["Entry", "Reader", "Source", "reader_from", "source_from"]

Source = (
    ImageFolder.Config
    | ImageList.Config
    | Archives.Config
    | WebdatasetTars.Config
    | Photographs.Config
    | TorchvisionDataset.Config
)
"""What `source` may be in a recipe; `name` says which."""


def reader_from(settings: Mapping[str, Any]) -> Reader:
    """The reader whose config has these fields, as `dataclasses.asdict` or JSON gives them. Raises `SourceError`."""
    kinds = {next(field.default for field in fields(kind) if field.name == "name"): kind for kind in get_args(Source)}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    reader: Reader = kinds[given["name"]](**given).build()
    return reader
