"""Where finished shards go: the output directory, or a URL.

A shard waits in the work folder of its slice, or below `.packing/` at the URL, until all slices are done and its final
name is known. Every step may be done again after a kill.
"""

from __future__ import annotations

import abc
import errno
from dataclasses import replace
from pathlib import Path

from data_shards import remote
from data_shards.durable import move_durably
from data_shards.manifest import FILE, Manifest

_WAITING = ".packing"


class Target(abc.ABC):
    """Takes the files of a shard set. `work` is the folder of slice `piece`, `name` a file in it."""

    at: str | None = None
    """The URL, where it is one."""

    @abc.abstractmethod
    def has(self, final: str) -> bool:
        """Whether a file is there under its final name."""

    @abc.abstractmethod
    def first_tar(self) -> str | None:
        """The name of a tar that is there already."""

    @abc.abstractmethod
    def stage(self, piece: int, work: Path, name: str) -> None:
        """Take a file that is finished, before the journal says so."""

    @abc.abstractmethod
    def settle(self, work: Path, name: str) -> None:
        """The journal says so."""

    @abc.abstractmethod
    def place(self, piece: int, work: Path, name: str, final: str) -> None:
        """Give a file its final name, whether it was staged or not."""

    @abc.abstractmethod
    def fetch(self, piece: int, work: Path, name: str) -> Path:
        """A staged file, on the local disk."""

    @abc.abstractmethod
    def put(self, path: Path, final: str) -> None:
        """Move a local file to its final name."""

    @abc.abstractmethod
    def discard(self, piece: int, work: Path, name: str) -> None:
        """Remove a staged file that another has replaced."""

    @abc.abstractmethod
    def save(self, manifest: Manifest, out: Path) -> None:
        """Write the manifest, which completes the shard set; also into the directory `out`."""


class Directory(Target):
    """An output directory: a staged file just stays in its work folder."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def has(self, final: str) -> bool:
        return (self.out / final).exists()

    def first_tar(self) -> str | None:
        return next((path.name for path in self.out.glob("*.tar")), None)

    def stage(self, piece: int, work: Path, name: str) -> None:
        pass

    def settle(self, work: Path, name: str) -> None:
        pass

    def place(self, piece: int, work: Path, name: str, final: str) -> None:
        if (work / name).exists() or not self.has(final):
            self.put(work / name, final)

    def fetch(self, piece: int, work: Path, name: str) -> Path:
        return work / name

    def put(self, path: Path, final: str) -> None:
        (self.out / final).parent.mkdir(exist_ok=True)
        move_durably(path, self.out / final)

    def discard(self, piece: int, work: Path, name: str) -> None:
        (work / name).unlink(missing_ok=True)

    def save(self, manifest: Manifest, out: Path) -> None:
        manifest.save(out)


class Url(Target):
    """A prefix in an object store, or anything else that has a URL."""

    def __init__(self, url: str) -> None:
        self.at = self.url = url.rstrip("/")

    def has(self, final: str) -> bool:
        return remote.exists(f"{self.url}/{final}")

    def first_tar(self) -> str | None:
        names = (name for name, _ in remote.listing(self.url))
        return next((name for name in names if name.endswith(".tar") and not name.startswith(_WAITING)), None)

    def stage(self, piece: int, work: Path, name: str) -> None:
        remote.upload(work / name, self._waiting(piece, name))

    def settle(self, work: Path, name: str) -> None:
        (work / name).unlink(missing_ok=True)

    def place(self, piece: int, work: Path, name: str, final: str) -> None:
        if remote.exists(self._waiting(piece, name)):
            remote.move(self._waiting(piece, name), f"{self.url}/{final}")
            self.settle(work, name)
        elif (work / name).exists():  # a file that was not staged: it is small
            self.put(work / name, final)
        elif not remote.exists(f"{self.url}/{final}"):
            raise FileNotFoundError(errno.ENOENT, "is gone", self._waiting(piece, name))

    def fetch(self, piece: int, work: Path, name: str) -> Path:
        path = work / name
        if not path.exists():
            remote.download(self._waiting(piece, name), path)
        return path

    def put(self, path: Path, final: str) -> None:
        remote.upload(path, f"{self.url}/{final}")
        path.unlink()

    def discard(self, piece: int, work: Path, name: str) -> None:
        (work / name).unlink(missing_ok=True)
        remote.remove(self._waiting(piece, name))

    def save(self, manifest: Manifest, out: Path) -> None:
        remote.write(f"{self.url}/{FILE}", replace(manifest, at=None).text().encode())
        manifest.save(out)

    def _waiting(self, piece: int, name: str) -> str:
        return f"{self.url}/{_WAITING}/{piece:06d}-{name}"


def target_for(out: Path, to: str | None) -> Target:
    """The output directory, or the URL `to`."""
    return Directory(out) if to is None else Url(to)
