"""A cache that several processes share, while they are killed at any moment."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_shards.reading.cache import CacheSettings
from data_shards.reading.cache_folder import CacheFolder
from data_shards.shard_hash import hash_of
from data_shards.stream import ShardSet
from tests.data_shards.pictures import listed, pack_into

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("room", "seed"), [(1.2, 1), (2.5, 2), (4.5, 3)])
def test_processes_that_are_killed_leave_right_bytes_within_the_bound(tmp_path: Path, room: float, seed: int) -> None:
    where, folder = tmp_path / "packed", tmp_path / "cache"
    manifest = pack_into(where, listed(36), samples_per_shard=6)
    largest = max(shard.bytes for shard in manifest.shards)
    bound = int(room * largest)
    command = [sys.executable, "-m", "tests.data_shards.read_often", where, where.as_uri(), folder, bound, 15, seed]
    ran = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["kills"] == 15
    assert found["most"] <= bound
    by_name = {shard.hash[:40]: shard for shard in manifest.shards}
    for tar in (folder / "shards").glob("*.tar"):
        assert hash_of(tar) == by_name[tar.stem].hash
    last = ShardSet(where.as_uri(), cache=CacheSettings(folder=str(folder), bytes=bound))
    assert [last.image(index) for index in range(36)] == [image for *_, image in listed(36).images]
    last.close()
    names = {path.name for path in (folder / "shards").iterdir()}
    assert names == {".lock"} | {
        f"{name}{end}" for name in by_name for end in (".tar", ".idx") if f"{name}.tar" in names
    }


def begun(folder: CacheFolder, name: str, size: int) -> None:
    """Reserve room for a shard in a process that then dies."""
    child = os.fork()
    if child == 0:
        file = folder.begin(name)
        assert file is not None
        assert folder.reserve(file, size, urgent=True) == 0
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def put(folder: CacheFolder, name: str, content: bytes) -> None:
    file = folder.begin(name)
    assert file is not None
    assert folder.reserve(file, len(content), urgent=True) is not None
    os.pwrite(file.descriptor, content, 0)
    folder.finish(file, name, b"v1.2 0\n")


def names(folder: CacheFolder) -> list[str]:
    return sorted(path.name for path in folder.folder.iterdir())


def test_what_a_kill_has_left_does_not_count_and_goes(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path / "cache", 1000)
    begun(folder, "a", 900)
    assert (folder.folder / ".a.partial").stat().st_size == 900
    (folder.folder / "gone.idx").touch()
    (folder.folder / ".gone.idx").touch()
    put(folder, "b", bytes(800))
    assert names(folder) == [".lock", "b.idx", "b.tar"]
    begun(folder, "c", 100)
    put(folder, "c", bytes(150))
    assert names(folder) == [".lock", "b.idx", "b.tar", "c.idx", "c.tar"], "taken over by the next one"


def test_what_is_open_or_being_written_in_another_process_stays(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path / "cache", 1000)
    put(folder, "a", bytes(300))
    put(folder, "b", bytes(300))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        held, partial = folder.open("a", 300), folder.begin("w")
        assert held is not None
        assert partial is not None
        assert folder.reserve(partial, 250, urgent=True) == 0
        os.write(writing, b"!")
        os.close(writing)
        signal.pause()
    try:
        assert os.read(reading, 1) == b"!"
        mine = folder.begin("c")
        assert mine is not None
        assert folder.reserve(mine, 500, urgent=True) is None, "a and w stay: 450 are left"
        assert folder.begin("w") is None
        assert names(folder) == [".c.partial", ".lock", ".w.partial", "a.idx", "a.tar"]
        assert folder.reserve(mine, 440, urgent=True) == 0
        folder.abandon(mine)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    mine = folder.begin("c")
    assert mine is not None
    assert folder.reserve(mine, 900, urgent=True) == 1, "its locks went with the process"
    assert names(folder) == [".c.partial", ".lock"]


def test_what_is_to_be_spared_goes_last_and_the_last_of_it_first(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path / "cache", 1000)
    for age, name in enumerate("abcd"):
        put(folder, name, bytes(200))
        os.utime(folder.folder / f"{name}.tar", (age, age))
    spare = ["b", "a", "c"]
    for size, urgent, removed, left in ((600, False, None, "abcd"), (350, True, 1, "abc"), (500, True, 1, "ab")):
        mine = folder.begin("e")
        assert mine is not None
        assert folder.reserve(mine, size, spare, urgent=urgent) == removed
        assert [name for name in "abcd" if folder.has(name)] == list(left)
        folder.abandon(mine)


def test_a_forked_child_does_not_keep_the_locks_of_its_parent(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path / "cache", 1000)
    put(folder, "a", bytes(300))
    file, partial = folder.open("a", 300), folder.begin("b")
    assert file is not None
    assert partial is not None
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, b"!")
        signal.pause()
    try:
        os.read(reading, 1)
        path = partial.path
        del file, partial
        for name in (folder.folder / "a.tar", path):
            with open(name, "rb") as free:
                fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
