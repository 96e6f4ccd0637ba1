"""Existing WebDataset tars as input: the only file that imports the webdataset library, for its `pipe:` notation.

A sample is a run of members that share a key. Its headers are walked to list it, and its image is read by offset, so
any part of the source can be packed by any process. Remote and compressed tars are first copied, unpacked, into the
cache folder (spool.py). A label is the `label` of a sample's `.json`, or its `.cls`; what else the `.json` says goes
on into the new shards. The split is found in the name of the tar or its folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from io import BufferedReader
from typing import Any, Literal

from data_shards.errors import SourceError
from data_shards.index import IMAGE_EXTENSIONS, LABEL_EXTENSION
from data_shards.readers.patterns import absolute, expand, names_of, splits_of
from data_shards.readers.reader import Entry, Reader
from data_shards.readers.spool import CACHE, CACHE_BYTES, Spool, size_of
from data_shards.readers.tables import plain
from data_shards.tar import Member, walk

_JSON = "json"
_OWN = frozenset({"source", "sha256", "original_sha256", "width", "height", "format", "split", "label"})
"""Keys of a `.json` that are written anew."""


class WebdatasetTars(Reader):
    """Lists and reads the samples of tars."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """WebDataset tars."""

        name: Literal["webdataset"] = "webdataset"
        path: str
        """A tar, a pattern with braces (train-{000000..000012}.tar) or stars, or several joined by ::"""
        metadata: tuple[str, ...] | None = None
        """Keys of a sample's `.json` to keep; without it all but those that are written anew."""
        cache: str = CACHE
        """Folder for local copies of remote and compressed tars."""
        cache_bytes: int = CACHE_BYTES
        """Most bytes kept there; the copies used least recently go first."""

        def build(self) -> WebdatasetTars:
            """The reader. Raises `SourceError` where a tar is missing."""
            return WebdatasetTars(self)

    def __init__(self, config: Config) -> None:
        self.config = replace(config, path=absolute(config.path))
        self.tars = expand(self.config.path, "tar")
        self._spool = Spool(config.cache, config.cache_bytes, _pipe)

    def entries(self) -> Iterator[Entry]:
        empty = True
        for tar, name, split in zip(self.tars, names_of(self.tars), splits_of(self.tars), strict=True):
            if split is None:
                continue
            for sample in _samples(self._members(tar)):
                extension = next((e for e in sample if e.rpartition(".")[2] in IMAGE_EXTENSIONS), None)
                if extension is None:
                    continue
                empty = False
                image = sample[extension]
                label, metadata = self._facts(tar, sample)
                yield Entry(f"{name}/{image.name}", split, label, [tar, image.offset, image.size], metadata)
        if empty:
            raise SourceError(self.config.path, "holds no image", "give tars with .jpg, .png or .webp members")

    def read(self, entry: Entry) -> bytes:
        return self._spool.read(*entry.location)

    @property
    def title(self) -> str:
        return str(self.config.path)

    def describe(self) -> dict[str, Any]:
        samples = {name: value for name, value in asdict(self.config).items() if not name.startswith("cache")}
        return {**samples, "bytes": [size_of(tar) for tar in self.tars]}

    def _members(self, tar: str) -> Iterator[Member]:
        try:
            file = self._spool.open(tar)
            yield from walk(file.descriptor, file.size)
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise SourceError(tar, f"cannot be read as a tar ({what})", "copy it again, or leave it out") from None

    def _facts(self, tar: str, sample: dict[str, Member]) -> tuple[str | None, dict[str, Any] | None]:
        """Label and metadata of a sample."""
        facts: Any = None
        if _JSON in sample:
            try:
                facts = json.loads(self._content(tar, sample[_JSON]))
            except (ValueError, RecursionError):  # not ours to judge; the image may be good
                facts = None
        facts = facts if isinstance(facts, dict) else {}
        label = facts.get("label")
        if label is None and LABEL_EXTENSION in sample:
            label = self._content(tar, sample[LABEL_EXTENSION]).decode("utf-8", "replace").strip()
        kept = [key for key in facts if key not in _OWN] if self.config.metadata is None else self.config.metadata
        return None if label is None else str(label), {key: plain(facts.get(key)) for key in kept} or None

    def _content(self, tar: str, member: Member) -> bytes:
        return self._spool.read(tar, member.offset, member.size)


def _samples(members: Iterable[Member]) -> Iterator[dict[str, Member]]:
    """The samples of a tar, each its members by extension: what follows the first dot of their names."""
    last, sample = None, dict[str, Member]()
    for member in members:
        folder, _, base = member.name.rpartition("/")
        stem, _, extension = base.partition(".")
        if not stem:  # a hidden file is no sample
            continue
        if (folder, stem) != last or extension.lower() in sample:
            if sample:
                yield sample
            last, sample = (folder, stem), {}
        sample[extension.lower()] = member
    if sample:
        yield sample


@contextmanager
def _pipe(command: str) -> Iterator[BufferedReader]:
    """The output of `pipe:command`, as WebDataset runs it."""
    from webdataset.gopen import gopen  # imports torch, so only where it is used

    with closing(gopen(command)) as process:  # raises OSError where it ends with an error
        yield process.stream
