"""A shard from a URL into a file, checked: by the hash of the manifest, or, where there is none, by the state it had.

`remote` tries again what fails in passing. What arrives damaged is fetched once more, for the wire may be to blame; the
second time it is the shard.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from data_shards import remote
from data_shards.errors import ShardError
from data_shards.index import samples_of, write_index
from data_shards.remote.failures import Patience
from data_shards.shard_hash import hash_to
from data_shards.tar import walk

_BLOCK = 8 << 20  # bytes fetched at once
_AGAIN = 1.0  # seconds between two attempts at a server that knows no ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A shard to be had from a URL. `name` is its name in the cache: another one for other bytes."""

    name: str
    url: str
    size: int
    hash: str | None = None
    """That of `shard_hash`; None where no manifest tells."""
    state: Mapping[str, str] | None = None
    """That of `remote.state`, where there is no hash."""


class StoppedError(Exception):
    """The fetching was given up, for its cache was closed."""


class DiskError(Exception):
    """The local file cannot be written."""

    def __init__(self, error: OSError) -> None:
        self.error = error
        super().__init__(error)


def patience_of(seconds: float) -> Patience:
    """Attempts whose pauses last so many seconds in all."""
    pause, total, attempts = Patience.pause, 0.0, 1
    while total < seconds:
        total, attempts, pause = total + min(pause, Patience.longest_pause), attempts + 1, pause * 2
    return Patience(attempts=attempts)


def fetch(wanted: Wanted, file: int, patience: float, on_bytes: Callable[[int], None]) -> bytes:
    """Write the shard into a file, from its first byte on, and give its index.

    `patience` is in seconds. `on_bytes` is told how many bytes have come, and may raise `StoppedError`. Raises
    `ShardError`, `SourceError`, and `DiskError`.
    """
    damage = ""
    for _ in range(2):
        _copy(wanted, file, patience, on_bytes)
        try:
            members = list(walk(file, wanted.size))
            found = hash_to(file, iter(members), wanted.size).hexdigest() if wanted.hash is not None else None
            damage = f"its hash is {found[:12]}…" if found is not None else ""
            if found == wanted.hash and (wanted.hash is not None or _state(wanted, patience) == wanted.state):
                return write_index(samples_of(members))
            damage = damage or "it changed meanwhile"
        except ValueError as error:
            damage = str(error)
        except OSError as error:
            raise DiskError(error) from None
    right = f"the manifest says {wanted.hash[:12]}…" if wanted.hash is not None else "it should be a tar"
    raise ShardError(wanted.url, f"arrived damaged twice ({damage})", f"{right}; put it there again")


def cannot(url: str, error: OSError) -> ShardError:
    """The sentence for a shard that cannot be had."""
    if isinstance(error, FileNotFoundError):
        return ShardError(url, "is missing", "put it there again, or pack the shards again")
    if isinstance(error, PermissionError):
        return ShardError(url, f"cannot be read ({error.strerror})", "allow it, or check your credentials")
    right = "check the network and the server, and repeat the command: it goes on where it stopped"
    return ShardError(url, f"cannot be fetched ({error.strerror or error})", right)


def _state(wanted: Wanted, patience: float) -> Mapping[str, str]:
    try:
        return remote.state(wanted.url, patience=patience_of(patience))
    except OSError as error:
        raise cannot(wanted.url, error) from None


def _copy(wanted: Wanted, file: int, patience: float, on_bytes: Callable[[int], None]) -> None:
    began = time.monotonic()
    while True:
        try:
            _copy_once(wanted, file, patience_of(patience), on_bytes)
            return
        except (ConnectionError, TimeoutError) as error:  # of a server that knows no ranges: nothing tried again
            if time.monotonic() - began + _AGAIN > patience:
                raise cannot(wanted.url, error) from None
            time.sleep(_AGAIN)
        except OSError as error:
            raise cannot(wanted.url, error) from None


def _copy_once(wanted: Wanted, file: int, patience: Patience, on_bytes: Callable[[int], None]) -> None:
    found = remote.size(wanted.url, patience=patience)
    if found not in (None, wanted.size):
        right = f"the manifest says {wanted.size}" if wanted.hash is not None else f"it had {wanted.size} before"
        raise ShardError(wanted.url, f"has {found} bytes", f"{right}; put it there again, or pack the shards again")
    at = 0
    with remote.open_stream(wanted.url, patience=patience) as source:
        while block := source.read(min(_BLOCK, wanted.size - at)):
            _write(file, block, at)
            at += len(block)
            on_bytes(len(block))
    if at != wanted.size:
        raise ConnectionError(errno.EREMOTEIO, f"ends at byte {at} of {wanted.size}", wanted.url)


def _write(file: int, block: bytes, at: int) -> None:
    rest = memoryview(block)
    try:
        while rest:
            written = os.pwrite(file, rest, at)
            rest, at = rest[written:], at + written
    except OSError as error:
        raise DiskError(error) from None
