"""Existing WebDataset tars as input: the only file that imports the webdataset library.

The tars are streamed from their beginning, twice: once to learn the classes, once to pack. A label is the `label` of
a sample's `.json`, or its `.cls`. The split is found in the name of the tar or its folder.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from data_shards.errors import SourceError
from data_shards.index import IMAGE_EXTENSIONS, LABEL_EXTENSION
from data_shards.readers.reader import Entry, Reader

_SPLIT = re.compile(r"(?:^|[^a-z])(train|test|val|valid|validation)(?:[^a-z]|$)")


class WebdatasetTars(Reader):
    """Streams the samples of tars."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """WebDataset tars."""

        name: Literal["webdataset"] = "webdataset"
        path: str
        """A tar, a pattern with braces (train-{000000..000012}.tar) or with stars, or several joined by ::"""

        def build(self) -> WebdatasetTars:
            """The reader. Raises `SourceError` where a tar is missing."""
            return WebdatasetTars(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        from webdataset.shardlists import expand_urls  # imports torch, so not at the top

        self.urls: list[str] = []
        for pattern in expand_urls(config.path):
            pattern = os.path.expanduser(pattern)
            self.urls += sorted(glob.glob(pattern)) if set(pattern) & set("*?") and "://" not in pattern else [pattern]
        missing = [url for url in self.urls if _is_local(url) and not os.path.isfile(url)]
        if missing or not self.urls:
            raise SourceError(
                missing[0] if missing else config.path, "there is no such tar", "give the path of existing tars"
            )
        named = [_split_of(url) for url in self.urls]
        self._validation = "test" if "test" not in named else None
        self._splits = named

    def entries(self) -> Iterator[Entry]:
        from webdataset.gopen import gopen
        from webdataset.tariterators import group_by_keys, tar_file_expander

        empty = True
        for url, named in zip(self.urls, self._splits, strict=True):
            split = named if named != "val" else self._validation
            if split is None:
                continue
            try:
                with contextlib.closing(gopen(url)) as stream:  # its own pipeline would leave the tar open
                    for sample in group_by_keys(tar_file_expander([{"url": url, "stream": stream}])):
                        extension = next((e for e in sample if e.rpartition(".")[2].lower() in IMAGE_EXTENSIONS), None)
                        if extension is None:
                            continue
                        empty = False
                        name = f"{os.path.basename(url)}/{sample['__key__']}.{extension}"
                        yield Entry(name, split, _label(sample), sample[extension])
            except (OSError, ValueError, EOFError, tarfile.TarError) as error:
                what = error.args[0] if error.args else type(error).__name__  # the library appends streams and names
                raise SourceError(url, f"cannot be read as a tar ({what})", "copy it again, or leave it out") from None
        if empty:
            raise SourceError(self.config.path, "holds no image", "give tars with .jpg, .png or .webp members")

    def read(self, entry: Entry) -> bytes:
        image: bytes = entry.location
        return image

    @property
    def title(self) -> str:
        return self.config.path

    def describe(self) -> dict[str, Any]:
        sizes = [os.path.getsize(url) if _is_local(url) else None for url in self.urls]
        return {**asdict(self.config), "bytes": sizes}


def _is_local(url: str) -> bool:
    return not re.match(r"(?:[a-z][a-z0-9]+:|-$)", url)


def _split_of(url: str) -> str:
    """train, test or val: by a word in the name of the tar, or else by the name of its folder."""
    folder, name = os.path.split(url.lower())
    found = _SPLIT.search(name) or _SPLIT.fullmatch(os.path.basename(folder))
    if found is None:
        return "train"
    return "val" if found[1].startswith("val") else found[1]


def _label(sample: dict[str, Any]) -> str | None:
    try:
        label = json.loads(sample["json"])["label"]
    except (KeyError, ValueError, TypeError):
        text = sample.get(LABEL_EXTENSION)
        return text.decode("utf-8", "replace").strip() if text is not None else None
    return None if label is None else str(label)
