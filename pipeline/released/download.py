"""A file from a URL into a folder of this machine, once: resumed where it broke off, checked, with progress.

    ~/.cache/seer-pipeline/weights/0a1b2c3d4e5f6071/model.torch         whole
                                                   /model.torch.partial what has come so far, and
                                                   /model.torch.state   how the server described the file then

A name without `.partial` is a whole file. Whatever protocol fsspec knows will do.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

from data_shards import remote
from data_shards.progress import Progress
from data_shards.remote.failures import Patience
from pipeline.artifacts import write_atomically
from pipeline.checkpoints.manifest import amount
from pipeline.errors import ArtifactError
from pipeline.released.readers.kinds import kind_of
from pipeline.runs import disk_error

CACHE = "~/.cache/seer-pipeline/weights"
_BLOCK = 4 << 20  # bytes
_MB = 1_000_000


def download(url: str, cache: Path, *, patience: Patience | None = None) -> Path:
    """The file at a URL, from the cache where it is there already.

    Raises `ArtifactError` where it cannot be had or is no file of weights, `RunError` where the disk does not take it.
    """
    name = Path(unquote(urlparse(url).path)).name or "weights"
    folder = cache.expanduser() / hashlib.sha256(url.encode()).hexdigest()[:16]
    path = folder / name
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / ".lock"):
            if not path.is_file():  # another process may have fetched it meanwhile
                _fetch(url, path, patience)
    except OSError as error:
        raise disk_error(folder, error) from error
    return path


def _fetch(url: str, path: Path, patience: Patience | None) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        state = remote.state(url, patience=patience)
        size = remote.size(url, patience=patience)
        stream = remote.open_stream(url, patience=patience)
    except OSError as error:
        raise unreachable(url, error) from None
    with stream:
        done = _resumed(partial, path.with_name(f"{path.name}.state"), state, stream)
        free = shutil.disk_usage(path.parent).free
        if size is not None and size - done > free:
            given = f"has {amount(size)}, and {amount(free)} of space are left in {path.parent}"
            raise ArtifactError(url, given, "free some, or set cache=DIR to a folder on another disk")
        _copy(url, stream, partial, done, size)
    if size is not None and partial.stat().st_size != size:
        given = f"ended after {amount(partial.stat().st_size)} of {amount(size)}"
        raise ArtifactError(url, given, "the same command goes on from there")
    try:
        kind_of(partial)
    except ArtifactError as error:
        partial.unlink()  # it would be in the way of the right one
        raise ArtifactError(url, error.given, error.right) from None
    os.replace(partial, path)
    path.with_name(f"{path.name}.state").unlink(missing_ok=True)


def _resumed(partial: Path, noted: Path, state: dict[str, str], stream: io.BufferedReader) -> int:
    """How many bytes are here already; what cannot be continued goes. The stream stands behind them.

    A size alone does not tell that the file is still the same.
    """
    told = json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() and partial.is_file() else None
    if told != state or not state.keys() - {"size"} or not stream.seekable():
        partial.unlink(missing_ok=True)
        write_atomically(noted, json.dumps(state))
        return 0
    done = partial.stat().st_size
    stream.seek(done)
    return done


def _copy(url: str, stream: io.BufferedReader, partial: Path, done: int, size: int | None) -> None:
    total = None if size is None else size // _MB
    with (
        open(partial, "ab", 0) as target,
        Progress(total, unit="MB", label=f"fetch {partial.stem}", start=done // _MB) as progress,
    ):
        while True:
            try:
                block = stream.read(_BLOCK)
            except OSError as error:
                given = f"broke off after {amount(done)}: {error.strerror or error}"
                raise ArtifactError(url, given, "the same command goes on from there") from None
            if not block:
                break
            target.write(block)
            progress.update((done + len(block)) // _MB - done // _MB)
            done += len(block)
        os.fsync(target.fileno())


def unreachable(url: str, error: OSError) -> ArtifactError:
    """The sentence for a URL that gives nothing."""
    said = (error.strerror or " ".join(str(error).split()) or type(error).__name__).replace(f" ({url})", "")
    if error.errno == errno.ENOENT:
        return ArtifactError(url, said, "check the address")
    if error.errno == errno.EACCES:
        return ArtifactError(url, said, "its server asks for a log-in or a licence; fetch it by hand, weights=FILE")
    right = "check the network; on a machine without one copy the file there and set weights=FILE"
    return ArtifactError(url, f"cannot be reached ({said})", right)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One process fetches a file, others wait for it."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
