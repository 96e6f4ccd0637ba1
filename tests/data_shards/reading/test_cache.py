"""Shards at a URL, through the cache: real S3 and nginx, and servers and disks that fail on purpose."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_shards import remote
from data_shards.errors import OutputError, ShardError, UserError
from data_shards.manifest import Manifest
from data_shards.reading import cache_folder, fetch
from data_shards.reading.cache import CacheSettings
from data_shards.stream import ShardSet
from tests.data_shards.pictures import Listed, listed, pack_into
from tests.data_shards.readers.servers import needs_nginx, nginx, s3
from tests.data_shards.servers import Files, files

SAMPLES = 20


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Listed, Manifest]:
    """Five shards of four samples."""
    folder, reader = tmp_path_factory.mktemp("packed"), listed(SAMPLES)
    return folder, reader, pack_into(folder, reader, samples_per_shard=4)


@pytest.fixture
def server(packed: tuple[Path, Listed, Manifest], tmp_path: Path) -> Iterator[Files]:
    """The shards on a web server, in a copy that a test may damage."""
    shutil.copytree(packed[0], tmp_path / "served")
    with files(tmp_path / "served") as server:
        yield server


@pytest.fixture
def settings(tmp_path: Path) -> CacheSettings:
    return CacheSettings(folder=str(tmp_path / "cache"), patience=10)


@pytest.fixture
def open_set(settings: CacheSettings) -> Iterator[Callable[..., ShardSet]]:
    """Opens shard sets that are closed after the test."""
    opened = []

    def open_set(where: Path | str, **changed: Any) -> ShardSet:
        opened.append(ShardSet(where, cache=replace(settings, **changed)))
        return opened[-1]

    yield open_set
    for shard_set in opened:
        shard_set.close()


def images(reader: Listed) -> list[bytes]:
    return [image for *_, image in reader.images]


def read_all(shard_set: ShardSet) -> list[bytes]:
    return [shard_set.image(index) for index in range(shard_set.samples)]


def kept(settings: CacheSettings, ending: str = ".tar") -> list[Path]:
    return sorted(Path(settings.folder, "shards").glob(f"*{ending}"))


def wait_for(what: Callable[[], bool]) -> None:
    for _ in range(2000):
        if what():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_a_set_at_a_url_is_read_as_one_in_a_directory(
    packed: tuple[Path, Listed, Manifest], server: Files, settings: CacheSettings, open_set: Any
) -> None:
    folder, reader, manifest = packed
    here, there = ShardSet(folder), open_set(server.url)
    assert there.manifest == manifest
    assert read_all(there) == images(reader)
    assert there.labels().tolist() == here.labels().tolist()
    assert [there.key(4, sample) for sample in range(4)] == [here.key(4, sample) for sample in range(4)]
    assert there.place(2) == f"{server.url}/train-000002.tar"
    found = there.statistics()
    assert (found.hits, found.misses, found.evicted) == (0, 5, 0)
    assert found.bytes == sum(shard.bytes for shard in manifest.shards)
    assert found.wait > 0
    given = server.seen.copy()
    again = open_set(server.url)
    assert read_all(again) == images(reader)
    assert (again.statistics().hits, again.statistics().bytes) == (5, 0)
    assert server.seen - given == {"manifest.json": 1}
    for shard, tar in zip(sorted(manifest.shards, key=lambda shard: shard.hash), kept(settings), strict=True):
        assert tar.read_bytes() == (folder / shard.name).read_bytes()
        assert tar.with_suffix(".idx").read_bytes() == (folder / shard.index_name).read_bytes()


def test_a_manifest_may_say_where_its_shards_lie(
    packed: tuple[Path, Listed, Manifest], server: Files, tmp_path: Path, open_set: Any
) -> None:
    _, reader, manifest = packed
    (tmp_path / "only").mkdir()
    replace(manifest, at=server.url).save(tmp_path / "only")
    shard_set = open_set(tmp_path / "only")
    assert read_all(shard_set) == images(reader)
    assert shard_set.place(0) == f"{server.url}/train-000000.tar"


def test_s3_gives_shards_and_says_what_it_does_not_have(
    packed: tuple[Path, Listed, Manifest], monkeypatch: pytest.MonkeyPatch, open_set: Any
) -> None:
    folder, reader, _ = packed
    with s3(monkeypatch) as client:
        for path in folder.glob("*.*"):
            client.upload_file(str(path), "pictures", f"set/{path.name}")
        shard_set = open_set("s3://pictures/set/")
        client.delete_object(Bucket="pictures", Key="set/train-000003.tar")
        assert [shard_set.image(index) for index in range(12)] == images(reader)[:12]
        with pytest.raises(ShardError, match=r"s3://pictures/set/train-000003\.tar: is missing; put it there again"):
            shard_set.image(12)
        assert shard_set.image(16) == images(reader)[16]
        with pytest.raises(UserError, match="s3://nobody: there is no such bucket"):
            open_set("s3://nobody/set")
        with pytest.raises(ShardError, match=r"s3://pictures/none: holds no manifest\.json and no tar"):
            open_set("s3://pictures/none")
        shard_set.close()


@needs_nginx
def test_nginx_gives_shards_with_ranges_and_without(
    packed: tuple[Path, Listed, Manifest], tmp_path: Path, open_set: Any
) -> None:
    folder, reader, _ = packed
    (tmp_path / "nginx").mkdir()
    with nginx(folder, tmp_path / "nginx") as url:
        assert read_all(open_set(url)) == images(reader)
        assert read_all(open_set(f"{url}/unpacked", folder=str(tmp_path / "second"))) == images(reader)
        with pytest.raises(ShardError, match=r"/secret: cannot be read \(access is denied"):
            open_set(f"{url}/secret")


@needs_nginx
def test_nginx_before_a_slow_server_that_fails_now_and_then(
    packed: tuple[Path, Listed, Manifest], server: Files, tmp_path: Path, open_set: Any
) -> None:
    _, reader, _ = packed
    (tmp_path / "nginx").mkdir()
    with nginx(tmp_path, tmp_path / "nginx", server.url) as url:
        shard_set = open_set(f"{url}/upstream")
        server.delay = 0.05
        server.fails = 8
        server.damaged.update({"train-000002.tar": 1})
        shard_set.expect(range(5))
        assert read_all(shard_set) == images(reader)
        assert server.fails == 0


def test_s3_that_is_gone_is_named_and_the_set_goes_on_when_it_is_back(
    packed: tuple[Path, Listed, Manifest], monkeypatch: pytest.MonkeyPatch, open_set: Any
) -> None:
    folder, reader, _ = packed

    def put_there(client: Any) -> None:
        for path in folder.glob("*.*"):
            client.upload_file(str(path), "pictures", f"set/{path.name}")

    with s3(monkeypatch) as client:
        put_there(client)
        shard_set = open_set("s3://pictures/set", patience=0.5)
        assert shard_set.image(0) == images(reader)[0]
    with pytest.raises(UserError, match=r"train-000001\.tar: its server cannot be reached; .*repeat the command"):
        shard_set.image(4)
    assert shard_set.image(1) == images(reader)[1], "what is there can be read"
    with s3(monkeypatch) as client:
        put_there(client)
        assert read_all(shard_set) == images(reader)
        shard_set.close()


def test_a_shard_that_arrives_damaged_is_fetched_again_and_then_named(
    packed: tuple[Path, Listed, Manifest], server: Files, settings: CacheSettings, open_set: Any
) -> None:
    _, reader, _ = packed
    server.damaged.update({"train-000001.tar": 1, "train-000002.tar": 100})
    shard_set = open_set(server.url)
    assert [shard_set.image(index) for index in range(8)] == images(reader)[:8]
    assert server.seen["train-000001.tar"] == 2
    with pytest.raises(ShardError, match=r"train-000002\.tar: arrived damaged twice \(.*put it there again"):
        shard_set.image(8)
    assert kept(settings, ".partial") == []
    assert len(kept(settings)) == 2


def test_a_shard_of_another_length_is_named(server: Files, open_set: Any) -> None:
    tar = server.root / "train-000000.tar"
    size = tar.stat().st_size
    with open(tar, "ab") as file:
        file.truncate(size - 512)
    with pytest.raises(ShardError, match=rf"train-000000\.tar: has {size - 512} bytes; the manifest says {size}"):
        open_set(server.url).image(0)


def test_a_server_that_comes_back_is_waited_for_and_one_that_does_not_is_named(
    packed: tuple[Path, Listed, Manifest], server: Files, open_set: Any
) -> None:
    _, reader, _ = packed
    shard_set = open_set(server.url)
    server.down.set()
    back = threading.Timer(1.0, server.down.clear)
    back.start()
    assert shard_set.image(0) == images(reader)[0]
    back.join()
    hasty = open_set(server.url, patience=0.6)
    server.down.set()
    with pytest.raises(ShardError, match=r"train-000001\.tar: cannot be fetched .*503.*goes on where it stopped"):
        hasty.image(4)
    server.down.clear()
    assert hasty.image(4) == images(reader)[4]


def test_the_shards_used_least_recently_go_and_open_ones_stay(
    packed: tuple[Path, Listed, Manifest], server: Files, settings: CacheSettings, open_set: Any
) -> None:
    _, reader, manifest = packed
    room = 3 * max(shard.bytes for shard in manifest.shards) + 2000
    shard_set = open_set(server.url, bytes=room)
    for shard in (0, 1, 2):
        shard_set.read(shard, 0)
        shard_set._store.close()
        time.sleep(0.01)  # a time of change of its own
    shard_set.read(0, 1)
    other = open_set(server.url, bytes=room)
    assert other.read(3, 0) == images(reader)[12]
    names = {tar.stem for tar in kept(settings)}
    assert names == {manifest.shards[shard].hash[:40] for shard in (0, 2, 3)}
    assert other.statistics().evicted == 1
    assert shard_set.read(0, 2) == images(reader)[2], "still open"
    assert read_all(shard_set) == images(reader)
    assert sum(path.stat().st_size for path in kept(settings) + kept(settings, ".idx")) <= room


def test_who_keeps_shards_open_without_reading_makes_room_after_a_while(
    packed: tuple[Path, Listed, Manifest], server: Files, open_set: Any
) -> None:
    _, reader, manifest = packed
    room = max(shard.bytes for shard in manifest.shards) + 1000
    idle, active = open_set(server.url, bytes=room), open_set(server.url, bytes=room)
    idle.image(0)
    assert active.image(19) == images(reader)[19]
    assert idle.image(1) == images(reader)[1]


def test_a_cache_without_room_is_a_sentence(
    packed: tuple[Path, Listed, Manifest], server: Files, settings: CacheSettings, open_set: Any
) -> None:
    with pytest.raises(UserError, match=r"train-00000\d\.tar has \d+ bytes, the cache only 1000; give it \d+ at the"):
        open_set(server.url, bytes=1000)
    room = max(shard.bytes for shard in packed[2].shards) + 1000
    reading, hasty = open_set(server.url, bytes=room), open_set(server.url, bytes=room, patience=0.5)
    reading.image(0)
    held = reading._store.file(0)  # as by a read that takes long
    with pytest.raises(OutputError, match=r"has no room for .*train-000001\.tar: all in it is being read; give"):
        hasty.image(4)
    del held


def test_what_is_expected_is_there_when_it_is_asked_for(
    packed: tuple[Path, Listed, Manifest], server: Files, settings: CacheSettings, open_set: Any
) -> None:
    _, reader, _ = packed
    shard_set = open_set(server.url)
    shard_set.expect([3, 1])
    wait_for(lambda: shard_set.statistics().ahead == 2)
    shard_set.expect([3, 1])
    assert shard_set.image(12) + shard_set.image(4) == images(reader)[12] + images(reader)[4]
    found = shard_set.statistics()
    assert (found.hits, found.misses, found.wait) == (2, 0, 0.0)
    assert (server.seen["train-000003.tar"], server.seen["train-000001.tar"]) == (1, 1)


def test_fetching_ahead_keeps_what_comes_first(
    packed: tuple[Path, Listed, Manifest], server: Files, settings: CacheSettings, open_set: Any
) -> None:
    _, reader, manifest = packed
    shard_set = open_set(server.url, bytes=2 * max(shard.bytes for shard in manifest.shards) + 1500, downloads=1)
    order = [4, 2, 0, 1, 3]
    for place, shard in enumerate(order):
        shard_set.expect(order[place:])
        wait_for(lambda: not shard_set._cache._threads)
        given = shard_set.statistics()
        assert shard_set.read(shard, 3) == images(reader)[4 * shard + 3]
        assert shard_set.statistics().hits == given.hits + 1, "it was there"
        shard_set._store.close()
    assert sum(server.seen[f"train-{shard:06d}.tar"] for shard in order) == len(order), "none was fetched twice"


def test_an_error_while_fetching_ahead_is_that_of_the_reader(server: Files, open_set: Any) -> None:
    (server.root / "train-000001.tar").unlink()
    shard_set = open_set(server.url)
    shard_set.expect([1, 2])
    wait_for(lambda: shard_set.statistics().ahead == 1)
    with pytest.raises(ShardError, match=r"train-000001\.tar: is missing"):
        shard_set.image(4)


def test_a_shard_cut_off_in_the_cache_is_fetched_again(
    packed: tuple[Path, Listed, Manifest], server: Files, settings: CacheSettings, open_set: Any
) -> None:
    _, reader, _ = packed
    shard_set = open_set(server.url)
    shard_set.image(0)
    os.truncate(kept(settings)[0], 700)
    assert shard_set.image(3) == images(reader)[3]
    kept(settings, ".idx")[0].write_bytes(b"nonsense")
    assert read_all(open_set(server.url)) == images(reader)


def test_a_folder_that_cannot_be_written_is_a_sentence(
    server: Files, settings: CacheSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_set: Any
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/shards: cannot be used as a cache \(Not a directory\); give a folder"):
        open_set(server.url, folder=str(tmp_path / "file")).image(0)
    whole = open_set(server.url)
    whole.image(0)
    opened = os.open

    def read_only(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_CREAT and settings.folder in str(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, *rest, **options)

    monkeypatch.setattr(cache_folder.os, "open", read_only)
    assert open_set(server.url).image(0), "what is there can be read"
    with pytest.raises(OutputError, match=r"cannot be used as a cache \(Read-only file system\)"):
        whole.image(4)


def test_a_full_disk_makes_room_and_then_is_a_sentence(
    packed: tuple[Path, Listed, Manifest],
    server: Files,
    settings: CacheSettings,
    monkeypatch: pytest.MonkeyPatch,
    open_set: Any,
) -> None:
    _, reader, manifest = packed
    disk = 2 * max(shard.bytes for shard in manifest.shards) + 1000
    write = os.pwrite

    def small(file: int, content: Any, at: int) -> int:
        if sum(tar.stat().st_size for tar in kept(settings)) + at + len(content) > disk:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, content, at)

    monkeypatch.setattr(fetch.os, "pwrite", small)
    shard_set = open_set(server.url)
    for index in (0, 4, 8, 12):
        assert shard_set.image(index) == images(reader)[index]
        shard_set._store.close()
    assert shard_set.statistics().evicted == 2
    disk = 100
    with pytest.raises(OutputError, match=r"cannot take another shard \(No space left on device\); free some space"):
        shard_set.image(16)
    assert kept(settings, ".partial") == []


def test_threads_and_two_runs_share_a_small_cache_without_waiting_for_each_other_for_ever(
    packed: tuple[Path, Listed, Manifest], server: Files, settings: CacheSettings, open_set: Any
) -> None:
    _, reader, manifest = packed
    sets = [open_set(server.url, bytes=int(2.5 * max(shard.bytes for shard in manifest.shards))) for _ in range(2)]
    wrong: list[object] = []

    def read(shard_set: ShardSet, start: int) -> None:
        try:
            for step in range(30):
                index = (start * 7 + step * 11) % SAMPLES
                shard_set.expect([(index // 4 + ahead) % 5 for ahead in range(3)])
                if shard_set.image(index) != images(reader)[index]:
                    wrong.append(index)
        except UserError as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(sets[n % 2], n), daemon=True) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=50)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def test_closing_ends_what_is_being_fetched(server: Files, settings: CacheSettings, open_set: Any) -> None:
    shard_set = open_set(server.url)
    server.delay = 0.2
    shard_set.expect(range(5))
    wait_for(lambda: bool(kept(settings, ".partial")))
    shard_set.close()
    wait_for(lambda: not shard_set._cache._threads)
    assert kept(settings, ".partial") == []


def test_a_set_can_be_sent_to_another_process(
    packed: tuple[Path, Listed, Manifest], server: Files, open_set: Any
) -> None:
    import pickle

    sent = pickle.loads(pickle.dumps(open_set(server.url)))
    assert sent.image(7) == images(packed[1])[7]
    sent.close()


def test_a_forked_process_reads_on_by_itself(packed: tuple[Path, Listed, Manifest], open_set: Any) -> None:
    folder, reader, _ = packed
    shard_set = open_set(folder.as_uri())
    shard_set.image(0)
    shard_set.expect([1])
    wait_for(lambda: shard_set.statistics().ahead == 1)
    child = os.fork()
    if child == 0:
        shard_set.expect([2])
        right = [shard_set.image(index) for index in range(SAMPLES)] == images(reader)
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert shard_set.image(1) == images(reader)[1]


def test_patience_is_the_sum_of_the_pauses() -> None:
    for seconds in (0, 0.5, 3, 60, 900):
        patience = fetch.patience_of(seconds)
        pauses = [min(patience.pause * 2**number, patience.longest_pause) for number in range(patience.attempts - 1)]
        assert sum(pauses) >= seconds
        assert sum(pauses[:-1]) < seconds or not pauses
    assert isinstance(fetch.patience_of(0), remote.Patience)
