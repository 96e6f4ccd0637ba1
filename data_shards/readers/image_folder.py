"""A folder of image files, of any shape and depth.

    root/a.jpg                 no label, split "train"
    root/cat/a.jpg             label "cat"
    root/train/cat/b/a.jpg     split "train", label "cat"
    root/test/…, root/val/…    split "test"; `val` counts as such only where there is no `test`

Folders are walked in sorted order. Files with another extension and hidden ones are not listed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from data_shards.errors import SourceError
from data_shards.readers.reader import Entry, Reader

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif"),  # listed so that they are counted, though they end in quarantine
)


class ImageFolder(Reader):
    """Lists and reads the images under a folder."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """A folder of image files."""

        name: Literal["image_folder"] = "image_folder"
        path: str
        """Folder of images; `train`, `test` and `val` folders in it are splits, other folders are classes."""
        holdout: float = 0.0
        """Share of samples moved to the split "test", chosen by their names."""
        labels: bool = True
        """Take the first folder below the split as the class of an image."""
        extensions: tuple[str, ...] = EXTENSIONS
        """Endings of the files to list, in lower case; "" lists files without one."""

        def __post_init__(self) -> None:
            if not 0 <= self.holdout < 1:
                raise ValueError(f"holdout is a share from 0 to below 1, not {self.holdout}")

        def build(self) -> ImageFolder:
            """The reader. Raises `SourceError` where the folder cannot be read."""
            return ImageFolder(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.root = Path(config.path).expanduser()
        self._extensions = frozenset(config.extensions)
        if not self.root.is_dir():
            what = "is a file" if self.root.exists() else "there is no such folder"
            raise SourceError(str(self.root), what, "give a folder that holds pictures")
        self.splits = splits_in(self.root)

    def entries(self) -> Iterator[Entry]:
        folders = self.splits or {"": "train"}
        empty = True
        for folder, split in folders.items():
            for below in self._walk(self.root / folder, "", ()):
                empty = False
                name = os.path.join(folder, below)
                first, slash, _ = below.partition(os.sep)
                label = first if self.config.labels and slash else None
                held_out = split == "train" and self._held_out(name)
                yield Entry(name, "test" if held_out else split, label, f"{self.root}{os.sep}{name}")
        if empty:
            endings = " ".join(sorted(ending for ending in self._extensions if ending))
            raise SourceError(str(self.root), "holds no image file", f"give a folder that holds some ({endings})")

    def read(self, entry: Entry) -> bytes:
        with open(entry.location, "rb", buffering=0) as file:
            return file.read()

    @property
    def title(self) -> str:
        return str(self.root)

    def describe(self) -> dict[str, Any]:
        return {**asdict(self.config), "path": str(self.root.resolve())}

    def _walk(self, folder: Path | str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
        """Paths of the image files in a folder, sorted, each after `prefix`; `above` stops links that go in circles."""
        try:
            status = os.stat(folder)
            with os.scandir(folder) as scan:
                found = sorted((entry.name, entry.is_dir()) for entry in scan if not entry.name.startswith((".", "__")))
        except OSError as error:
            raise SourceError(str(folder), f"cannot be listed ({error.strerror})", "make it readable") from None
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        for name, is_folder in found:
            if is_folder:
                yield from self._walk(os.path.join(folder, name), f"{prefix}{name}{os.sep}", (*above, here))
            elif os.path.splitext(name)[1].lower() in self._extensions:
                yield prefix + name

    def _held_out(self, name: str) -> bool:
        if not self.config.holdout:
            return False
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") < self.config.holdout * 2.0**64


def splits_in(root: Path) -> dict[str, str]:
    """Folders directly in `root` that are splits, and the name of each; empty where there is no `train`."""
    if not (root / "train").is_dir():
        return {}
    test = next((folder for folder in ("test", "val", "valid", "validation") if (root / folder).is_dir()), None)
    return {"train": "train", **({test: "test"} if test else {})}
