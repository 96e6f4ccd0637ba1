"""Files at URLs.

    __init__.py    what can be done with one
    access.py      file systems: the only file that imports fsspec
    failures.py    what went wrong, in our words; when to try again, and how long

Any protocol that fsspec knows will do. Credentials, endpoints and headers are fsspec's own business: the environment
(`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`; `FSSPEC_S3_ANON=true` for public buckets;
`FSSPEC_HTTP='{"headers": {…}}'`) or the files in `~/.config/fsspec`.

- One place retries: passing failures (time-outs, broken connections, HTTP 408, 425, 429 and 5xx) are tried again after
  a pause that doubles and is drawn at random, or the one that the server asks for. The libraries below do not.
- `read` raises `ImageError` (`not_found`, `forbidden`, `timed_out`, `unreachable`): one image is missing and the run
  goes on. The other functions raise `OSError`. All raise `SourceError` for a mistake of the whole run: no such bucket,
  no credentials, a package that is not installed.
- All may be called by many threads, and after a fork.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from data_shards.errors import ImageError
from data_shards.ranges import Ranges, Sequence
from data_shards.remote import failures
from data_shards.remote.access import (
    HTTP,
    OBJECT_STORES,
    S3,
    URL,
    knows_ranges,
    list_page,
    open_files,
    protocol_of,
    read_all,
    read_range,
)
from data_shards.remote.failures import Patience, attempt
from data_shards.sorting import sort_on_disk

_STATE = ("size", "ETag", "etag", "md5Hash", "Content-MD5", "LastModified", "Last-Modified", "mtime", "created")
_BLOCK = 8 << 20  # what a stream reads at once, in bytes


class Listed(NamedTuple):
    """A file below a URL: its path from there, and its size in bytes where the listing tells it."""

    name: str
    size: int | None


def is_url(text: str) -> bool:
    """Whether this is a URL and no path."""
    return URL.match(text) is not None


def read(url: str, offset: int = 0, size: int | None = None, *, patience: Patience | None = None) -> bytes:
    """The bytes at a URL, or `size` of them from `offset` on. Raises `ImageError` and `SourceError`."""
    try:
        return _read(url, offset, size, patience)
    except FileNotFoundError as error:
        raise ImageError("not_found", str(error.strerror)) from None
    except PermissionError as error:
        raise ImageError("forbidden", str(error.strerror)) from None
    except TimeoutError as error:
        raise ImageError("timed_out", str(error.strerror)) from None
    except OSError as error:
        raise ImageError("unreachable", str(error.strerror)) from None


def size(url: str, *, patience: Patience | None = None) -> int | None:
    """Bytes of a file; None where the server does not say. Raises `OSError` and `SourceError`."""
    files, path = open_files(url)
    found: int | None = attempt(lambda: files.info(path), url, patience)["size"]
    return found


def state(url: str, *, patience: Patience | None = None) -> dict[str, str]:
    """What tells whether a file has changed: its size, and its hash or time. Raises `OSError` and `SourceError`."""
    files, path = open_files(url)
    info = attempt(lambda: files.info(path), url, patience)
    return {name: str(info[name]) for name in _STATE if info.get(name) is not None}


def exists(url: str, *, patience: Patience | None = None) -> bool:
    """Whether there is a file. Raises `OSError` where that cannot be told, and `SourceError`."""
    files, path = open_files(url)
    try:
        return bool(attempt(lambda: files.info(path), url, patience)["type"] == "file")
    except FileNotFoundError:
        return False


def is_folder(url: str, *, patience: Patience | None = None) -> bool:
    """Whether there is a folder, or anything below this prefix. Raises `OSError` and `SourceError`."""
    files, path = open_files(url)
    if protocol_of(url) in S3:
        return bool(attempt(lambda: list_page(files, _below(path), most=1), url, patience).get("Contents"))
    return bool(attempt(lambda: files.isdir(path), url, patience))


def matching(pattern: str, *, patience: Patience | None = None) -> list[str]:
    """The URLs that a pattern with stars matches, sorted. Raises `OSError` and `SourceError`."""
    files, path = open_files(pattern)
    found = attempt(lambda: files.glob(path), pattern, patience)
    return sorted(name if is_url(name) else str(files.unstrip_protocol(name)) for name in found)


def listing(url: str, *, patience: Patience | None = None) -> Iterator[Listed]:
    """All files below a URL, in the order of their paths' parts, and so of a walk through sorted folders.

    S3 gives a page at a time, which is sorted on the disk. Elsewhere a folder at a time is in memory. Raises `OSError`
    and `SourceError`; where there is nothing, nothing is listed.
    """
    files, path = open_files(url)
    if protocol_of(url) in S3:
        for name, length in sort_on_disk(_objects(files, url, _below(path), patience)):
            yield Listed(name.replace("\0", "/"), length)
    else:
        yield from _walk(files, url, path, "", patience)


def download(url: str, path: Path, *, patience: Patience | None = None) -> None:
    """Copy to a local file, whole or not at all. Raises `OSError` and `SourceError`."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open_stream(url, patience=patience) as source, open(unfinished, "wb") as target:
            while block := source.read(_BLOCK):
                target.write(block)
            target.flush()
            os.fsync(target.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def open_stream(url: str, *, patience: Patience | None = None) -> io.BufferedReader:
    """The bytes at a URL, seekable, by ranges that are each tried again on their own.

    A server that knows no ranges is read in one go and cannot seek, nor try again once it has begun. Raises `OSError`
    and `SourceError`, also when it is read.
    """
    files, path = open_files(url)
    length = attempt(lambda: files.info(path), url, patience)["size"]
    by_ranges = protocol_of(url) not in HTTP or attempt(lambda: knows_ranges(files, path), url, patience)
    if by_ranges and length is not None:
        return io.BufferedReader(Ranges(lambda offset, size: _read(url, offset, size, patience), length, url), _BLOCK)
    stream = attempt(lambda: files.open(path, "rb", block_size=0), url, patience)
    once = Patience(attempts=1)
    return io.BufferedReader(
        Sequence(lambda size: attempt(partial(stream.read, size), url, once), stream.close), _BLOCK
    )


def write(url: str, content: bytes, *, patience: Patience | None = None) -> None:
    """Make a file of these bytes, whole or not at all. Raises `OSError` and `SourceError`."""
    _place(url, lambda files, path: files.pipe_file(path, content), patience)


def upload(local: Path, url: str, *, patience: Patience | None = None) -> None:
    """Copy a local file to a URL, whole or not at all. Raises `OSError` and `SourceError`."""
    options = {"method": "put"} if protocol_of(url) in HTTP else {}
    _place(url, lambda files, path: files.put_file(str(local), path, **options), patience)


def move(url: str, target: str, *, patience: Patience | None = None) -> None:
    """Give a file another URL of the same protocol; what was there is replaced. Raises `OSError` and `SourceError`."""
    files, path = open_files(url)
    _, goal = open_files(target)
    if protocol_of(url) in OBJECT_STORES:
        attempt(lambda: files.cp_file(path, goal), url, patience)
        remove(url, patience=patience)
    else:
        attempt(lambda: files.makedirs(files._parent(goal), exist_ok=True), target, patience)
        attempt(lambda: files.mv(path, goal), url, patience)


def remove(url: str, *, patience: Patience | None = None) -> None:
    """Remove a file; none there is fine. Raises `OSError` and `SourceError`."""
    files, path = open_files(url)
    try:
        attempt(lambda: files.rm_file(path), url, patience)
    except FileNotFoundError:
        return


def _read(url: str, offset: int, size: int | None, patience: Patience | None) -> bytes:
    files, path = open_files(url)
    limit = (patience or failures.PATIENCE).time_limit
    if size is None:
        whole: bytes = attempt(lambda: read_all(files, path, limit), url, patience)
        return whole[offset:]
    return attempt(lambda: read_range(files, path, offset, size, limit), url, patience) if size else b""


def _place(url: str, put: Callable[[Any, str], Any], patience: Patience | None) -> None:
    files, path = open_files(url)
    if protocol_of(url) in OBJECT_STORES:
        attempt(lambda: put(files, path), url, patience)
        return
    unfinished = f"{path}.partial"
    attempt(lambda: files.makedirs(files._parent(path), exist_ok=True), url, patience)
    attempt(lambda: put(files, unfinished), url, patience)
    attempt(lambda: files.mv(unfinished, path), url, patience)


def _below(path: str) -> str:
    return path.rstrip("/") + "/"


def _objects(files: Any, url: str, below: str, patience: Patience | None) -> Iterator[tuple[str, int]]:
    """Names and sizes; the slashes are zeros, so that names sort as the tuples of their parts."""
    token, skip = None, len(below.partition("/")[2])
    while True:
        page = attempt(partial(list_page, files, below, token), url, patience)
        for item in page.get("Contents", ()):
            if not item["Key"].endswith("/"):
                yield item["Key"][skip:].replace("/", "\0"), item["Size"]
        token = page.get("NextContinuationToken")
        if token is None:
            return


def _walk(files: Any, url: str, folder: str, prefix: str, patience: Patience | None) -> Iterator[Listed]:
    start = _below(folder)
    try:
        found = attempt(lambda: files.ls(folder, detail=True), url, patience)
    except FileNotFoundError:
        if prefix:  # removed while it was walked
            return
        found = []
    entries = {item["name"].removeprefix(start).rstrip("/"): item for item in found if item["name"].startswith(start)}
    for name, item in sorted(entries.items()):
        if item["type"] == "directory":
            yield from _walk(files, url, start + name, f"{prefix}{name}/", patience)
        elif name:
            yield Listed(prefix + name, item["size"])
