"""A folder of image files, of any shape and depth, or the same below a URL.

    root/a.jpg                 no label, split "train"
    root/cat/a.jpg             label "cat"
    root/train/cat/b/a.jpg     split "train", label "cat"
    root/test/…, root/val/…    split "test"; `val` counts as such only where there is no `test`

Folders are walked in sorted order; a folder of millions of files is sorted on the disk, never held in memory. Files
with another extension and hidden ones are not listed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

from data_shards import remote
from data_shards.errors import SourceError
from data_shards.readers.patterns import absolute
from data_shards.readers.reader import Entry, Reader, check_holdout, held_out, read_file
from data_shards.sorting import sort_on_disk

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif"),  # listed so that they are counted, though they end in quarantine
)
HIDDEN = (".", "__")
"""How the names of files and folders begin that are not listed, such as __MACOSX."""


class ImageFolder(Reader):
    """Lists and reads the images under a folder."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """A folder of image files."""

        name: Literal["image_folder"] = "image_folder"
        path: str
        """Folder or URL (s3://bucket/prefix); `train`, `test` and `val` in it are splits, other folders classes."""
        holdout: float = 0.0
        """Share of samples moved to the split "test", chosen by their names."""
        labels: bool = True
        """Take the first folder below the split as the class of an image."""
        extensions: tuple[str, ...] = EXTENSIONS
        """Endings of the files to list, in lower case; "" lists files without one."""

        def __post_init__(self) -> None:
            check_holdout(self.holdout)

        def build(self) -> ImageFolder:
            """The reader. Raises `SourceError` where the folder cannot be read."""
            return ImageFolder(self)

    def __init__(self, config: Config) -> None:
        self.waits = remote.is_url(config.path)
        self.root = config.path.rstrip("/") if self.waits else absolute(config.path)
        self.config = replace(config, path=self.root)
        self._extensions = frozenset(config.extensions)
        if not is_folder(self.root):
            what = "is a file" if not self.waits and os.path.exists(self.root) else "there is no such folder"
            raise SourceError(self.root, what, "give a folder that holds pictures")
        self.splits = splits_in(self.root)

    def entries(self) -> Iterator[Entry]:
        folders = self.splits or {"": "train"}
        empty = True
        for folder, split in folders.items():
            top = os.path.join(self.root, folder) if folder else self.root
            for below in self._list(top) if self.waits else self._walk(top):
                empty = False
                name = os.path.join(folder, below)
                first, slash, _ = below.partition(os.sep)
                label = first if self.config.labels and slash else None
                moved = split == "train" and held_out(name, self.config.holdout)
                yield Entry(name, "test" if moved else split, label)
        if empty:
            endings = " ".join(sorted(ending for ending in self._extensions if ending))
            raise SourceError(self.root, "holds no image file", f"give a folder that holds some ({endings})")

    def read(self, entry: Entry) -> bytes:
        return remote.read(self.path_of(entry)) if self.waits else read_file(self.path_of(entry))

    def path_of(self, entry: Entry) -> str:
        """Where an image lies: a path or a URL."""
        return f"{self.root}{os.sep}{entry.name}"

    @property
    def title(self) -> str:
        return self.root

    def describe(self) -> dict[str, Any]:
        return asdict(self.config)

    def _walk(self, top: str) -> Iterator[str]:
        """Paths of the image files below a folder, sorted."""
        levels = [self._open(top, "", ())]
        while levels:
            level = levels[-1]
            found = next(level.names, None)
            if found is None:
                levels.pop()
            elif found[1]:
                above = (*(outer.identity for outer in levels),)
                levels.append(
                    self._open(os.path.join(level.path, found[0]), f"{level.prefix}{found[0]}{os.sep}", above)
                )
            else:
                yield level.prefix + found[0]

    def _open(self, path: str, prefix: str, above: tuple[tuple[int, int], ...]) -> _Level:
        """A folder to walk; an empty one in place of a link back to a folder `above`."""
        try:
            status = os.stat(path)
        except OSError as error:
            raise unlistable(path, error) from None
        identity = (status.st_dev, status.st_ino)
        names = iter(()) if identity in above else sort_on_disk(self._scan(path))
        return _Level(path, prefix, identity, names)

    def _scan(self, path: str) -> Iterator[tuple[str, bool]]:
        """Names of the images and folders in a folder, as they come, and whether it is a folder."""
        try:
            with os.scandir(path) as scan:
                for entry in scan:
                    if not entry.name.startswith(HIDDEN):
                        inner = _is_folder(entry)
                        if inner or self._is_image(entry.name):
                            yield entry.name, inner
        except OSError as error:
            raise unlistable(path, error) from None

    def _list(self, top: str) -> Iterator[str]:
        """Paths of the image files below a URL, sorted in the same way."""
        try:
            for name, _ in remote.listing(top):
                if self._is_image(name) and not any(part.startswith(HIDDEN) for part in name.split("/")):
                    yield name
        except OSError as error:
            raise unlistable(top, error) from None

    def _is_image(self, name: str) -> bool:
        return os.path.splitext(name)[1].lower() in self._extensions


class _Level(NamedTuple):
    """A folder that is being walked; `prefix` goes before its names, `identity` are its device and inode."""

    path: str
    prefix: str
    identity: tuple[int, int]
    names: Iterator[tuple[str, bool]]


def is_folder(path: str) -> bool:
    """Whether this is a folder, or a URL with something below it. Raises `SourceError`."""
    try:
        return remote.is_folder(path) if remote.is_url(path) else os.path.isdir(path)
    except OSError as error:
        raise unlistable(path, error) from None


def splits_in(root: str) -> dict[str, str]:
    """Folders directly in `root` that are splits, and the name of each; empty where there is no `train`."""
    if not is_folder(f"{root}/train"):
        return {}
    test = next((folder for folder in ("test", "val", "valid", "validation") if is_folder(f"{root}/{folder}")), None)
    return {"train": "train", **({test: "test"} if test else {})}


def unlistable(path: str, error: OSError) -> SourceError:
    """The sentence for a folder that the system or the server does not list."""
    return SourceError(path, f"cannot be listed ({error.strerror})", "make it readable")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: its image is unreadable, and not the folder around it
        return False
