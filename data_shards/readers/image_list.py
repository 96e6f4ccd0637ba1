"""A list of images: paths or URLs in a text, CSV, TSV, JSON lines or Parquet file.

    path,label,split,caption
    cat/1.jpg,cat,train,"a cat"
    https://example.org/2.jpg,dog,test,

- The column of the images is found by its name: path, url, image, file, filename and the like; `image=` names another.
- A relative path lies below `root`, or else beside the list.
- A row without an image is listed too, so that it is counted; it ends in quarantine.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from data_shards import remote
from data_shards.errors import ImageError, SourceError
from data_shards.readers.patterns import absolute, expand
from data_shards.readers.reader import Entry, Reader, check_holdout, held_out, read_file
from data_shards.readers.tables import columns_of, ending_of, rows_of

_IMAGE_COLUMNS = (
    *("path", "filepath", "file_path", "image_path", "img_path", "image_file", "file", "filename", "file_name"),
    *("url", "image_url", "img_url", "uri", "image_uri", "image", "img"),
)
_LABEL_COLUMNS = ("label", "class")
_SPLIT_COLUMNS = ("split",)
_HEAD = 100  # rows that tell whether the list holds URLs
_WORD = re.compile(r"[A-Za-z0-9_]+")


class ImageList(Reader):
    """Lists and reads the images that a table names."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """A list of paths or URLs."""

        name: Literal["image_list"] = "image_list"
        path: str
        """A .txt, .csv, .tsv, .jsonl or .parquet file, also with .gz; a URL or several by a pattern will do."""
        image: str | None = None
        """Column of the paths or URLs; without it, path, url, image, file, filename or the like."""
        label: str | None = None
        """Column of the labels; without it, label or class where there is one; "" for none."""
        split: str | None = None
        """Column of the splits; without it, split where there is one; "" for none, which is train."""
        metadata: tuple[str, ...] = ()
        """Columns that go into the `.json` of a sample."""
        root: str | None = None
        """Folder or URL that relative paths lie below; without it, the folder of the list."""
        holdout: float = 0.0
        """Share of the train samples moved to the split "test", chosen by their names."""

        def __post_init__(self) -> None:
            check_holdout(self.holdout)

        def build(self) -> ImageList:
            """The reader. Raises `SourceError` where a list or a column is missing."""
            return ImageList(self)

    def __init__(self, config: Config) -> None:
        self.config = replace(config, path=absolute(config.path))
        self.lists = expand(self.config.path, "list")
        for path in self.lists:
            if ending_of(path) is None:
                raise SourceError(path, "is no list", "give a .txt, .csv, .tsv, .jsonl or .parquet file")
        head = itertools.islice(self._rows(self.lists[0]), _HEAD)  # of the first only: each process does this
        self.waits = any(remote.is_url(entry.location or "") for entry in head)

    def entries(self) -> Iterator[Entry]:
        empty = True
        for path in self.lists:
            for entry in self._rows(path):
                empty = False
                yield entry
        if empty:
            raise SourceError(self.config.path, "holds no row", "give a list that names images")

    def read(self, entry: Entry) -> bytes:
        if entry.location is None:
            raise ImageError("not_found", "its row names no image")
        if remote.is_url(entry.location):
            return remote.read(entry.location)
        return read_file(entry.location)

    @property
    def title(self) -> str:
        return str(self.config.path)

    def describe(self) -> dict[str, Any]:
        return asdict(self.config)

    def _rows(self, path: str) -> Iterator[Entry]:
        columns = self._columns(path)
        root = os.path.expanduser(self.config.root or os.path.dirname(path) or ".")
        wanted = [columns["image"], *(columns[name] for name in ("label", "split") if name in columns)]
        for number, row in enumerate(rows_of(path, [*wanted, *self.config.metadata]), 1):
            values = iter(row)
            image = next(values)
            label = _word(next(values)) if "label" in columns else None
            split = _word(next(values)) if "split" in columns else None
            metadata = dict(zip(self.config.metadata, values, strict=True)) or None
            if image is not None and not isinstance(image, str):
                given = f"its column {columns['image']} holds {type(image).__name__} and no paths"
                raise SourceError(path, given, "name another with image=")
            if split is not None and not _WORD.fullmatch(split):
                given = f"row {number} has the split {split!r}"
                raise SourceError(path, given, "a split is a word such as train or test")
            name = image if image is not None else f"{os.path.basename(path)} row {number}"
            split = split.lower() if split is not None else "train"
            if split == "train" and held_out(name, self.config.holdout):
                split = "test"
            yield Entry(name, split, label, None if image is None else _below(root, image), metadata)

    def _columns(self, path: str) -> dict[str, str]:
        """The columns of image, label and split in a list. Raises `SourceError` for one that is not there."""
        found = columns_of(path)
        config, used = self.config, {}
        for asked in (config.image, config.label, config.split, *config.metadata):
            if asked and asked not in found:
                near = difflib.get_close_matches(asked, found, 1)
                meant = f"did you mean {near[0]}? " if near else ""
                raise SourceError(path, f"has no column {asked!r}", f"{meant}it has {', '.join(found) or 'none'}")
        lower = {column.lower(): column for column in reversed(found)}
        for name, usual in (("image", _IMAGE_COLUMNS), ("label", _LABEL_COLUMNS), ("split", _SPLIT_COLUMNS)):
            asked = getattr(config, name)
            column = asked if asked is not None else next((lower[word] for word in usual if word in lower), None)
            if column:
                used[name] = column
        if "image" not in used:
            what = f"none of its columns is known to hold images: {', '.join(found) or 'it is empty'}"
            raise SourceError(path, what, "name one with image=")
        return used


def _below(root: str, path: str) -> str:
    if remote.is_url(path) or os.path.isabs(path):
        return path
    return f"{root.rstrip('/')}/{path}" if remote.is_url(root) else os.path.join(root, path)


def _word(value: Any) -> str | None:
    """A label as text; whole numbers that a table made fractions of are whole again."""
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
