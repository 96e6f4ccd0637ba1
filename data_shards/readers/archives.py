"""Image files inside tars and zips, as if each were a folder.

    pictures.zip: a.jpg                     no label, split "train"
    cats.tar.gz:  cats/tabby/a.jpg          label "tabby": a folder that everything lies in does not count
    imagenet.tar: train/cat/a.jpg           split "train", label "cat"
    train.zip, val.zip: cat/a.jpg           the split by the name of the archive, where no folder inside says it

Nothing is extracted: an image is read by its offset, and the path of a member, be it absolute or ../, is only a name.
Remote and compressed archives are first copied, tars also unpacked, into the cache folder (spool.py): reading on from
the beginning for each slice of the packing would unpack them many times over. The table of contents of a zip is held
in memory while it is listed, about 1 kB a member; that of a tar is not.
"""

from __future__ import annotations

import bz2
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from io import BufferedReader
from typing import Any, Literal, NamedTuple

from data_shards.errors import ImageError, SourceError
from data_shards.readers.image_folder import EXTENSIONS, HIDDEN
from data_shards.readers.patterns import absolute, expand, names_of, splits_of
from data_shards.readers.reader import Entry, Reader, check_holdout, held_out
from data_shards.readers.spool import CACHE, CACHE_BYTES, Spool, size_of
from data_shards.tar import walk

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
_VALIDATION = ("test", "val", "valid", "validation")
_DAMAGED = (zipfile.BadZipFile, struct.error, EOFError, OverflowError, NotImplementedError)
"""What Python's zipfile raises beside `OSError` and `ValueError`."""
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1  # flag of a member of a zip
_LARGEST = 1 << 30  # bytes that a member may unpack to: a few kilobytes can promise as many as they like


class Archives(Reader):
    """Lists and reads the images in archives."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Image files inside tars and zips."""

        name: Literal["archives"] = "archives"
        path: str
        """A .tar, .tar.gz, .tgz, .tar.bz2, .tar.xz or .zip, local or a URL; a pattern with braces or stars."""
        labels: Literal["folder", "archive", "none"] = "folder"
        """The class of an image: its first folder below the split, the name of its archive, or none."""
        holdout: float = 0.0
        """Share of samples moved to the split "test", chosen by their names."""
        extensions: tuple[str, ...] = EXTENSIONS
        """Endings of the members to list, in lower case."""
        cache: str = CACHE
        """Folder for local copies of remote and compressed archives."""
        cache_bytes: int = CACHE_BYTES
        """Most bytes kept there; the copies used least recently go first."""

        def __post_init__(self) -> None:
            check_holdout(self.holdout)

        def build(self) -> Archives:
            """The reader. Raises `SourceError` where an archive is missing."""
            return Archives(self)

    def __init__(self, config: Config) -> None:
        self.config = replace(config, path=absolute(config.path))
        self.archives = expand(self.config.path, "archive")
        self._spool = Spool(config.cache, config.cache_bytes, _no_pipe)
        self._extensions = config.extensions

    def entries(self) -> Iterator[Entry]:
        skip, folders = self._layout
        empty = True
        for archive, title, named in zip(self.archives, names_of(self.archives), splits_of(self.archives), strict=True):
            for path, location in self._members(archive):
                inner, split = path[skip:], named
                if folders:
                    split, inner = folders.get(inner[0] if len(inner) > 1 else ""), inner[1:]
                if split is None:
                    continue
                empty = False
                name = f"{title}/{'/'.join(path)}"
                label = inner[0] if self.config.labels == "folder" and len(inner) > 1 else None
                label = _stem(archive) if self.config.labels == "archive" else label
                moved = split == "train" and held_out(name, self.config.holdout)
                yield Entry(name, "test" if moved else split, label, location)
        if empty:
            endings = " ".join(sorted(self._extensions))
            raise SourceError(self.config.path, "holds no image file", f"give archives that hold some ({endings})")

    def read(self, entry: Entry) -> bytes:
        archive, offset, size, *packed = entry.location
        if not packed:
            return self._spool.read(archive, offset, size)
        return self._unzip(archive, offset, size, *packed)

    @property
    def title(self) -> str:
        return str(self.config.path)

    def describe(self) -> dict[str, Any]:
        samples = {name: value for name, value in asdict(self.config).items() if not name.startswith("cache")}
        return {**samples, "bytes": [size_of(archive) for archive in self.archives]}

    @cached_property
    def _layout(self) -> _Layout:
        """One pass over all names, by which the folders that are splits are known before the first entry."""
        top: set[str | None] = set()  # the first two folders that are different are enough
        words: tuple[set[str], set[str]] = (set(), set())  # those that name splits, at the top and one below
        for archive in self.archives:
            for path, _ in self._members(archive):
                if len(top) < 2:
                    top.add(path[0] if len(path) > 1 else None)
                for depth in range(min(2, len(path) - 1)):
                    if path[depth] in ("train", *_VALIDATION):
                        words[depth].add(path[depth])
        skip = int(len(top) == 1 and None not in top and not words[0])
        if "train" not in words[skip]:
            return _Layout(skip, {})
        test = next((word for word in _VALIDATION if word in words[skip]), None)
        return _Layout(skip, {"train": "train", **({test: "test"} if test else {})})

    def _members(self, archive: str) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
        """Path and location of the images in an archive."""
        try:
            file = self._spool.open(archive)
            with file.stream() as stream:
                # a zip may begin with something else, such as the program that unpacks it
                is_zip = stream.peek(2)[:2] == b"PK" or archive.lower().endswith(".zip")
            for name, *location in _zipped(file.stream()) if is_zip else walk(file.descriptor, file.size):
                path = tuple(part for part in name.split("/") if part not in ("", ".", ".."))
                if path and path[-1].lower().endswith(self._extensions) and not any(p.startswith(HIDDEN) for p in path):
                    yield path, [archive, *location]
        except (OSError, ValueError, *_DAMAGED) as error:
            what = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise SourceError(archive, f"cannot be listed ({what})", "copy it again, or leave it out") from None

    def _unzip(
        self, archive: str, offset: int, size: int, packed: int, method: int, checksum: int, flags: int
    ) -> bytes:
        """A member of a zip, from its own header on. Raises `OSError` and `ImageError`."""
        if flags & _ENCRYPTED:
            raise ImageError("encrypted")
        if max(size, packed) > _LARGEST:
            raise ImageError("unpackable", f"promises {size} bytes")
        mark, name, extra = _LOCAL_HEADER.unpack(self._spool.read(archive, offset, _LOCAL_HEADER.size))
        if mark != b"PK\3\4":
            raise ImageError("unpackable", f"no header at byte {offset}")
        content = self._spool.read(archive, offset + _LOCAL_HEADER.size + name + extra, packed)
        try:
            if method == zipfile.ZIP_DEFLATED:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
            elif method == zipfile.ZIP_BZIP2:
                content = bz2.BZ2Decompressor().decompress(content, size + 1)
            elif method != zipfile.ZIP_STORED:
                raise ImageError("unpackable", f"packed by a method that is not read (number {method})")
        except (zlib.error, OSError, EOFError) as error:
            raise ImageError("unpackable", str(error)) from None
        if len(content) != size or zlib.crc32(content) != checksum:
            raise ImageError("unpackable", "its checksum does not match")
        return content


class _Layout(NamedTuple):
    """How many folders at the top to leave out, and the folders that are splits; none where no folder is `train`."""

    skip: int
    folders: dict[str, str]


def _zipped(stream: BufferedReader) -> Iterator[tuple[str, int, int, int, int, int, int]]:
    """Name of each file in a zip; then offset of its header, size, packed size, method, checksum and flags."""
    with stream, zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                sizes = (info.file_size, info.compress_size)
                yield info.filename, info.header_offset, *sizes, info.compress_type, info.CRC, info.flag_bits


def _stem(archive: str) -> str:
    base = archive.rpartition("/")[2]
    ending = next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if base.lower().endswith(ending)), "")
    return base[: len(base) - len(ending)]


def _no_pipe(command: str) -> AbstractContextManager[BufferedReader]:
    raise SourceError(command, "is a command", "give its output as a file, or read it as WebDataset tars")
