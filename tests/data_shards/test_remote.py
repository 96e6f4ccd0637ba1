"""Files at URLs: a real S3 endpoint, nginx, and a web server that fails on purpose."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

from data_shards import remote
from data_shards.errors import ImageError, SourceError
from data_shards.readers.reader import REASONS
from data_shards.remote import Patience, failures
from tests.data_shards.readers.servers import Faulty, faulty, needs_nginx, nginx, s3

QUICK = Patience(attempts=3, pause=0.001, longest_pause=0.01, time_limit=20)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with s3(monkeypatch) as client:
        yield client


@pytest.fixture
def failing() -> Iterator[tuple[Faulty, str]]:
    with faulty() as server:
        yield server


def reason(url: str, **settings: Any) -> str:
    """Why `read` gives no image."""
    with pytest.raises(ImageError) as caught:
        remote.read(url, patience=Patience(**{"attempts": 3, "pause": 0.001, **settings}))
    assert caught.value.reason in REASONS
    return caught.value.reason


def test_what_is_a_url() -> None:
    assert all(map(remote.is_url, ["s3://b", "HTTP://x/y", "a+b.c-d://x"]))
    assert not any(map(remote.is_url, ["", "/a/b", "x:y", "://", "a/b://c", "1a://b", "pipe:cat x"]))


def test_s3_gives_what_was_put(bucket: Any, tmp_path: Path) -> None:
    content = os.urandom(100_000)
    (tmp_path / "x").write_bytes(content)
    remote.upload(tmp_path / "x", "s3://pictures/a/x")
    remote.write("s3://pictures/a/y", content[::-1])
    remote.write("s3://pictures/a/none", b"")
    assert bucket.get_object(Bucket="pictures", Key="a/x")["Body"].read() == content
    assert remote.read("s3://pictures/a/y") == content[::-1]
    assert remote.read("s3://pictures/a/none") == b""
    assert remote.read("s3://pictures/a/x", 7, 5000) == content[7:5007]
    assert remote.read("s3://pictures/a/x", 99_990, 100) == content[99_990:]
    assert remote.read("s3://pictures/a/x", 5, 0) == b""
    assert remote.read("s3://pictures/a/x", 5) == content[5:]
    assert remote.size("s3://pictures/a/x") == 100_000
    with remote.open_stream("s3://pictures/a/x") as stream:
        assert stream.read(10) == content[:10]
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == content[-10:]
    remote.move("s3://pictures/a/x", "s3://pictures/a/y")
    assert not remote.exists("s3://pictures/a/x")
    remote.download("s3://pictures/a/y", tmp_path / "y")
    assert (tmp_path / "y").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "y"]
    for _ in range(2):
        remote.remove("s3://pictures/a/y")
        assert not remote.exists("s3://pictures/a/y")


def test_s3_is_listed_by_pages_in_the_order_of_a_walk(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ["p/z", "p/a/1", "p/a-b/1", "p/a/b/c", "p/ü", "p/a.x", "p/\U0001f600", "p/￿", "q", "p-q/x", "p/folder/"]
    for key in keys:
        bucket.put_object(Bucket="pictures", Key=key, Body=key.encode())
    monkeypatch.setattr(remote, "list_page", functools.partial(remote.list_page, most=3))
    inside = sorted(
        (key[2:] for key in keys if key.startswith("p/") and key[-1] != "/"), key=lambda key: key.split("/")
    )
    for prefix in ("s3://pictures/p", "s3://pictures/p/"):
        found = list(remote.listing(prefix))
        assert [name for name, _ in found] == inside
        assert [length for _, length in found] == [len(f"p/{name}".encode()) for name in inside]
    assert len(list(remote.listing("s3://pictures"))) == len(keys) - 1
    assert list(remote.listing("s3://pictures/none")) == []
    assert [remote.is_folder(f"s3://pictures/{name}") for name in ("p", "p/a", "q", "none")] == [
        True,
        True,
        False,
        False,
    ]
    assert remote.matching("s3://pictures/p/a*/1") == ["s3://pictures/p/a-b/1", "s3://pictures/p/a/1"]


def test_s3_mistakes_of_the_whole_run_are_sentences(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert reason("s3://pictures/none") == "not_found"
    for action in (
        lambda: remote.read("s3://nobody/x"),
        lambda: list(remote.listing("s3://nobody/x")),
        lambda: remote.write("s3://nobody/x", b""),
        lambda: remote.is_folder("s3://nobody"),
    ):
        with pytest.raises(SourceError, match="s3://nobody: there is no such bucket; check its name"):
            action()
    fresh = type(fsspec.filesystem("s3")).clear_instance_cache
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for action in (lambda: remote.read("s3://pictures/x"), lambda: next(remote.listing("s3://pictures"))):
        fresh()
        with pytest.raises(SourceError, match=r"no credentials for s3:// were found; set AWS_ACCESS_KEY_ID"):
            action()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    fresh()
    with pytest.raises(SourceError, match=r"no credentials for s3:// were found"):
        remote.read("s3://pictures/x")


def test_an_s3_endpoint_that_is_down_is_no_fault_of_an_image(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    type(fsspec.filesystem("s3")).clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="its server cannot be reached; check the network and AWS_ENDPOINT_URL"):
        remote.read("s3://pictures/x", patience=QUICK)


def test_what_is_not_installed_or_unknown_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.registry import known_implementations

    monkeypatch.setitem(known_implementations, "cloudy", {"class": "cloudyfs.core.CloudyFileSystem", "err": "no"})
    with pytest.raises(SourceError, match=r"cloudy:// needs the package cloudyfs.* Next: pip install cloudyfs"):
        remote.read("cloudy://a/b")
    with pytest.raises(SourceError, match=r"there is no protocol htp://; there is http"):
        remote.read("htp://a/b")


@needs_nginx
def test_nginx_gives_files_ranges_and_listings(tmp_path: Path) -> None:
    root = tmp_path / "root"
    content = os.urandom(3_000_000)
    for name in ("a/1.jpg", "a-b/2.jpg", "b c/ü.jpg", "z.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    with nginx(root, tmp_path) as address:
        assert remote.read(f"{address}/a/1.jpg") == content
        assert remote.read(f"{address}/b%20c/ü.jpg", 5, 10) == content[5:15]
        assert remote.read(f"{address}/unpacked/z.jpg", 5, 10) == content[5:15], "it gives all where we want a part"
        assert remote.read(f"{address}/unpacked/z.jpg", 0, 10) == content[:10]
        assert remote.size(f"{address}/z.jpg") == len(content)
        assert remote.exists(f"{address}/z.jpg")
        assert not remote.exists(f"{address}/none.jpg")
        for url in (f"{address}/z.jpg", f"{address}/unpacked/z.jpg"):
            with remote.open_stream(url) as stream:
                assert stream.peek(2)[:2] == content[:2]
                assert stream.read() == content
        names = [name for name, _ in remote.listing(address)]
        assert names == ["a/1.jpg", "a-b/2.jpg", "b%20c/%C3%BC.jpg", "z.jpg"]
        assert remote.is_folder(f"{address}/a")
        assert not remote.is_folder(f"{address}/none")
        assert reason(f"{address}/none.jpg") == "not_found"
        assert reason(f"{address}/secret/z.jpg") == "forbidden"
        assert reason(f"{address}/upstream/x") == "unreachable", "its upstream is down: HTTP 502"
        with pytest.raises(FileNotFoundError):
            remote.open_stream(f"{address}/none.jpg")
        with pytest.raises(PermissionError):
            remote.size(f"{address}/secret/z.jpg")


@needs_nginx
def test_a_failure_behind_nginx_is_tried_again(tmp_path: Path, failing: tuple[Faulty, str]) -> None:
    server, upstream = failing
    with nginx(tmp_path, tmp_path, upstream) as address:
        assert remote.read(f"{address}/upstream/fails/2/x", patience=QUICK) == b"/fails/2/x"
        assert remote.read(f"{address}/upstream/cut/2/x", patience=QUICK) == b"/cut/2/x"
        assert reason(f"{address}/upstream/fails/3/x") == "unreachable"
        assert reason(f"{address}/upstream/slow/x", attempts=2, time_limit=0.3) == "timed_out"
    assert server.seen == {"/fails/2/x": 3, "/cut/2/x": 3, "/fails/3/x": 3, "/slow/x": 2}


@pytest.mark.parametrize(
    ("status", "expected", "attempts"),
    [
        *((400, "unreachable", 1), (401, "forbidden", 1), (403, "forbidden", 1), (404, "not_found", 1)),
        *((410, "not_found", 1), (408, "timed_out", 3), (429, "unreachable", 3), (451, "forbidden", 1)),
        *((500, "unreachable", 3), (501, "unreachable", 1), (503, "unreachable", 3), (504, "timed_out", 3)),
    ],
)
def test_each_status_has_its_reason(failing: tuple[Faulty, str], status: int, expected: str, attempts: int) -> None:
    server, address = failing
    assert reason(f"{address}/status/{status}") == expected
    assert server.seen[f"/status/{status}"] == attempts


def test_pauses_double_with_jitter_and_heed_the_server(
    failing: tuple[Faulty, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(failures.time, "sleep", pauses.append)
    patience = Patience(attempts=6, pause=1.0, longest_pause=9.0)
    for number in range(20):
        assert remote.read(f"{failing[1]}/fails/5/{number}", patience=patience)
    for step in range(5):
        drawn = pauses[step::5]
        mean = 2.0**step
        assert all(min(0.5 * mean, 9) <= pause <= min(1.5 * mean, 9) for pause in drawn)
        assert step > 2 or len(set(drawn)) == 20
    pauses.clear()
    assert remote.read(f"{failing[1]}/busy/2/x", patience=patience)
    assert pauses == [7.0, 7.0]


def test_a_stream_that_breaks_off_is_noticed(failing: tuple[Faulty, str]) -> None:
    """The server knows no ranges, so nothing can be tried again once the stream has begun."""
    with remote.open_stream(f"{failing[1]}/cut/0/x") as stream:
        assert not stream.seekable()
        assert stream.read() == b"/cut/0/x"
    with remote.open_stream(f"{failing[1]}/cut/99/y") as stream, pytest.raises(ConnectionError, match="no connection"):
        stream.read()


def test_servers_that_are_not_there_are_unreachable() -> None:
    assert reason("http://127.0.0.1:9/x") == "unreachable"
    assert reason("http://no-such-host.invalid/x") == "unreachable"
    assert reason("http://[nonsense/x") == "not_found"


def test_many_threads_read_at_once(failing: tuple[Faulty, str]) -> None:
    urls = [f"{failing[1]}/fails/{n % 3}/{n}" for n in range(300)]
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda url: remote.read(url, patience=QUICK), urls))
    assert found == [url.removeprefix(failing[1]).encode() for url in urls]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_reads_after_it_was_forked_or_spawned(failing: tuple[Faulty, str], method: str) -> None:
    url = f"{failing[1]}/good/x"
    assert remote.read(url) == b"/good/x"
    context = multiprocessing.get_context(method)
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_read_in_child, args=(url, send))
    process.start()
    assert receive.poll(60)
    assert receive.recv() == b"/good/x"
    process.join()
    receive.close()
    send.close()


def _read_in_child(url: str, send: Any) -> None:
    send.send(remote.read(url))


def test_files_with_folders_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"file://{tmp_path}/new/x"
    remote.write(url, b"old")
    files = type(fsspec.filesystem("file"))

    def break_off(self: Any, path: str, content: bytes, **_: Any) -> None:
        Path(path).write_bytes(content[:1])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "pipe_file", break_off)
        with pytest.raises(OSError, match="No space left"):
            remote.write(url, b"new")
    assert (tmp_path / "new/x").read_bytes() == b"old"
    remote.write(url, b"new")
    remote.move(url, f"file://{tmp_path}/other/y")
    assert list(remote.listing(f"file://{tmp_path}")) == [("other/y", 3)]
