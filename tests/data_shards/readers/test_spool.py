"""Local copies of archives."""

from __future__ import annotations

import errno
import gzip
import multiprocessing
import os
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path
from typing import Any

import pytest

from data_shards.errors import SourceError
from data_shards.readers import spool
from data_shards.readers.spool import Spool


def no_pipe(command: str) -> AbstractContextManager[BufferedReader]:
    raise AssertionError(command)


def packed(path: Path, content: bytes) -> str:
    path.write_bytes(gzip.compress(content))
    return str(path)


def copies(spooled: Spool) -> int:
    return len(list(spooled.folder.glob("*.archive")))


def test_what_is_plain_and_local_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0123456789")
    spooled = Spool(str(tmp_path / "cache"), 100, no_pipe)
    assert spooled.read(str(tmp_path / "x"), 3, 4) == b"3456"
    with pytest.raises(OSError, match="ends before byte 12"):
        spooled.read(str(tmp_path / "x"), 8, 4)
    with pytest.raises(FileNotFoundError):
        spooled.read(str(tmp_path / "none"), 0, 1)
    assert not spooled.folder.exists()


def test_a_copy_is_made_once_and_anew_where_the_archive_changed(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.gz", b"old" * 100)
    assert [Spool(str(tmp_path), 1000, no_pipe).read(path, 3, 3) for _ in range(2)] == [b"old"] * 2
    assert copies(Spool(str(tmp_path), 1000, no_pipe)) == 1
    packed(tmp_path / "x.gz", b"new" * 101)
    assert Spool(str(tmp_path), 1000, no_pipe).read(path, 3, 3) == b"new"


def test_the_copies_used_least_recently_go_first_and_are_made_again(tmp_path: Path) -> None:
    spooled = Spool(str(tmp_path / "cache"), 250, no_pipe)
    paths = [packed(tmp_path / f"{n}.gz", bytes([n]) * 100) for n in range(5)]
    held = spooled.open(paths[0])
    for number, path in enumerate(paths):
        assert spooled.read(path, 99, 1) == bytes([number])
        assert copies(spooled) <= 2
    assert os.pread(held.descriptor, 1, 99) == b"\0", "who holds one still reads it"
    assert [Spool(str(tmp_path / "cache"), 250, no_pipe).read(path, 0, 1)[0] for path in paths] == [0, 1, 2, 3, 4]
    large = packed(tmp_path / "large.gz", bytes(1000))
    assert spooled.read(large, 0, 1000) == bytes(1000), "one that is larger than the bound is there alone"
    assert copies(spooled) == 1


def test_more_archives_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_OPEN", 3)
    before = len(os.listdir("/proc/self/fd"))
    spooled = Spool(str(tmp_path), 100, no_pipe)
    for number in range(20):
        (tmp_path / str(number)).write_bytes(bytes([number]))
    for number in [*range(20), *range(20)]:
        assert spooled.read(str(tmp_path / str(number)), 0, 1) == bytes([number])
        assert len(os.listdir("/proc/self/fd")) <= before + 3


def test_a_full_disk_makes_room_and_then_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spooled = Spool(str(tmp_path / "cache"), 10_000, no_pipe)
    first, second = packed(tmp_path / "1.gz", b"1" * 100), packed(tmp_path / "2.gz", b"2" * 100)
    spooled.read(first, 0, 1)
    blocks = spool._blocks

    def full(archive: str, pipe: Any) -> Any:
        if copies(spooled):
            raise OSError(errno.ENOSPC, "No space left on device")
        return blocks(archive, pipe)

    monkeypatch.setattr(spool, "_blocks", full)
    assert spooled.read(second, 0, 1) == b"2"
    assert copies(spooled) == 1
    (spooled.folder / "x.archive").mkdir()  # what cannot go away
    monkeypatch.setattr(spool, "_blocks", lambda *_: full_forever())
    with pytest.raises(
        SourceError, match=r"cannot keep a copy of .*3\.gz \(No space left on device\); free some space"
    ):
        Spool(str(tmp_path / "other"), 1, no_pipe).read(packed(tmp_path / "3.gz", b"3"), 0, 1)
    assert not list((tmp_path / "other").rglob("*.partial"))


def full_forever() -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_two_processes_make_one_copy(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.gz", b"x" * 3_000_000)
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        found = pool.starmap(_read, [(str(tmp_path), path)] * 4)
    assert found == [b"x" * 10] * 4
    assert copies(Spool(str(tmp_path), 1, no_pipe)) == 1


def _read(folder: str, path: str) -> bytes:
    return Spool(folder, 10_000_000, no_pipe).read(path, 2_000_000, 10)
