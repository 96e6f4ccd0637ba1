"""A file comes once, goes on where it broke off, and is never there in part."""

from __future__ import annotations

import errno
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from data_shards.remote.failures import Patience
from pipeline.errors import ArtifactError, RunError
from pipeline.released import download as module
from pipeline.released.download import download
from tests.data_shards.servers import files

QUICK = Patience(attempts=2, pause=0.01, time_limit=10)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights in the folder that is served, a few times as long as a block."""
    (tmp_path / "served").mkdir()
    torch.save({"x": torch.randn(50_000)}, tmp_path / "served" / "m.torch")
    return tmp_path / "served" / "m.torch"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 20_000)


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.name != ".lock")


def test_it_comes_whole_and_once(weights: Path, tmp_path: Path) -> None:
    with files(weights.parent) as server:
        path = download(f"{server.url}/m.torch", tmp_path / "cache")
        assert path.read_bytes() == weights.read_bytes()
        asked = server.requests
        assert download(f"{server.url}/m.torch", tmp_path / "cache") == path
        assert server.requests == asked
    assert left(tmp_path / "cache") == ["m.torch"]


def test_two_addresses_with_one_name_are_two_files(weights: Path, tmp_path: Path) -> None:
    (weights.parent / "other").mkdir()
    torch.save({"y": torch.ones(1)}, weights.parent / "other" / "m.torch")
    with files(weights.parent) as server:
        one, other = (download(f"{server.url}/{name}", tmp_path / "cache") for name in ("m.torch", "other/m.torch"))
    assert one.name == other.name == "m.torch"
    assert one.read_bytes() != other.read_bytes()


def break_off(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ctrl-C after four blocks; gives what is left, with a mark on what should not be fetched again."""
    blocks = iter(range(100))

    def interrupted(self: Any, count: int, **figures: Any) -> None:
        if next(blocks) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Progress, "update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download(url, cache)
    assert left(cache) == ["m.torch.partial", "m.torch.state"]
    partial = next(cache.rglob("*.partial"))
    assert partial.stat().st_size == 80_000
    partial.write_bytes(partial.read_bytes()[:1000] + bytes(79_000))
    return partial


@pytest.mark.parametrize("tag", ["same", "other", None])
def test_it_goes_on_where_it_broke_off_if_it_is_surely_the_same_file(
    tag: str | None, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"size": str(weights.stat().st_size), **({"ETag": "same"} if tag else {})}
    monkeypatch.setattr(module.remote, "state", lambda url, patience=None: state)
    with files(weights.parent) as server:
        break_off(f"{server.url}/m.torch", tmp_path / "cache", monkeypatch)
        state.update({"ETag": tag} if tag else {})
        path = download(f"{server.url}/m.torch", tmp_path / "cache")
    content = path.read_bytes()
    assert content[80_000:] == weights.read_bytes()[80_000:]
    assert (content[1000:80_000] == bytes(79_000)) == (tag == "same")
    assert (content == weights.read_bytes()) == (tag != "same")
    assert left(tmp_path / "cache") == ["m.torch"]


class Plain(http.server.BaseHTTPRequestHandler):
    """A server that knows no ranges, and breaks off once."""

    content = b""
    broken = 0

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(self.headers.get("Range") is None)

    def answer(self, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        if body:
            short = Plain.broken > 0
            Plain.broken -= short
            self.wfile.write(self.content[:50_000] if short else self.content)
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent."""


@pytest.fixture
def plain(weights: Path) -> Iterator[str]:
    Plain.content, Plain.broken = weights.read_bytes(), 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Plain)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/m.torch"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_without_ranges_is_read_in_one_go_and_from_the_start(
    plain: str, weights: Path, tmp_path: Path
) -> None:
    Plain.broken = 1
    with pytest.raises(ArtifactError, match=r"(broke off|ended) after .*the same command goes on"):
        download(plain, tmp_path / "cache", patience=QUICK)
    assert "m.torch" not in left(tmp_path / "cache")
    assert download(plain, tmp_path / "cache", patience=QUICK).read_bytes() == weights.read_bytes()


def test_a_server_that_fails_in_passing_is_asked_again(weights: Path, tmp_path: Path) -> None:
    with files(weights.parent) as server:
        server.fails = 2
        assert download(f"{server.url}/m.torch", tmp_path, patience=QUICK).read_bytes() == weights.read_bytes()


def test_what_cannot_be_had_is_said_and_leaves_no_file(weights: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with files(weights.parent) as server:
        with pytest.raises(ArtifactError, match=r"there is no such file .HTTP 404.; check the address"):
            download(f"{server.url}/other.torch", cache, patience=QUICK)
        server.down.set()
        with pytest.raises(ArtifactError, match=r"cannot be reached .*HTTP 503.*check the network.*weights=FILE"):
            download(f"{server.url}/m.torch", cache, patience=QUICK)
        gone = server.url
    with pytest.raises(ArtifactError, match=r"cannot be reached \(no connection"):
        download(f"{gone}/m.torch", cache, patience=QUICK)
    with pytest.raises(ArtifactError, match=r"cannot be reached|no valid URL|there is no such file"):
        download("http://", cache, patience=QUICK)
    assert left(cache) == []


def test_a_web_page_in_place_of_the_file_is_not_kept(weights: Path, tmp_path: Path) -> None:
    weights.write_text("<!DOCTYPE html><p>Please log in</p>")
    page = pytest.raises(ArtifactError, match=r"http.*m.torch: is a web page, not weights")
    with files(weights.parent) as server, page:
        download(f"{server.url}/m.torch", tmp_path / "cache")
    assert "m.torch" not in left(tmp_path / "cache")
    assert "m.torch.partial" not in left(tmp_path / "cache")


def test_no_space_is_said_before_it_begins(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))  # type: ignore[attr-defined]
    with files(weights.parent) as server, pytest.raises(ArtifactError, match=r"has 20\d.\d kB, and 1.0 kB of space"):
        download(f"{server.url}/m.torch", tmp_path / "cache")


def test_a_disk_that_is_full_is_said(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with files(weights.parent) as server, pytest.raises(RunError, match="no space"):
        download(f"{server.url}/m.torch", tmp_path / "cache")
