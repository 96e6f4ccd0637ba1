"""Anyone's WebDataset tars as a shard set: a folder of them, a pattern with braces or stars, or several URLs.

On first use each tar is indexed, by a walk through its headers that reads next to nothing else. The index is kept as
`.idx` beside the tar, or in the folder of the cache where that cannot be; one that is older than its tar is made anew.
The manifest is made up from the indices, and lies nowhere: counts, sizes, splits by the words train, val and test in
names. In place of the hash of a shard stands that of its index: a run is resumed on the same tars or not at all.

A tar at a URL comes whole, into the cache: its headers alone would be a request each, one after the other, some 30,000
for a tar of a gigabyte. An `.idx` beside it spares even that.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from data_shards import remote
from data_shards.errors import ImageError, ShardError
from data_shards.index import Index, parse_index, samples_in, write_index
from data_shards.manifest import Manifest, Shard
from data_shards.reading.cache import CacheSettings, ShardCache
from data_shards.reading.fetch import Wanted, cannot
from data_shards.reading.labels import number_in
from data_shards.reading.store import OpenFile
from data_shards.reading.tars import Tars, check_bound
from data_shards.tar import walk

_LABELS = ("cls", "json")
_THREADS = 16  # for the time that storage takes to answer


class _Indexed(NamedTuple):
    """A tar: its size in bytes, the text of its index, and what tells whether it has changed."""

    size: int
    text: bytes
    state: Mapping[str, str]


class PlainTars(Tars):
    """The tars at these places, which are paths or URLs."""

    def __init__(self, where: str, places: Sequence[str], settings: CacheSettings, cache: ShardCache) -> None:
        from data_shards.readers.patterns import names_of, splits_of  # the readers take 0.3 s to import

        self._cache = cache
        self._folder = Path(settings.folder).expanduser() / "indices"
        named = zip(places, names_of(list(places)), splits_of(list(places)), strict=True)
        chosen = [(place, name, split) for place, name, split in named if split is not None]
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="index") as pool:
            indexed = list(pool.map(self._indexed, (place for place, *_ in chosen)))
        self._places = {name: place for place, name, _ in chosen}
        self._states = {name: found.state for (_, name, _), found in zip(chosen, indexed, strict=True)}
        self.manifest = _manifest(where, chosen, indexed)
        check_bound([shard for shard in self.manifest.shards if remote.is_url(self.place(shard))], where, settings)

    def place(self, shard: Shard) -> str:
        return self._places[shard.name]

    def wanted(self, shard: Shard) -> Wanted:
        return _wanted(self.place(shard), self._states[shard.name])

    def index(self, shard: Shard, file: OpenFile) -> Index:
        place = self.place(shard)
        state = self._states[shard.name]
        found = self._indexed_at(place, state) if remote.is_url(place) else self._indexed_here(place)
        if _hash_of(found) != shard.hash:
            raise ShardError(place, "has changed since the run began", "bring it back, or begin anew")
        return self.checked(shard, file, _parsed(place, found.text))

    def number(self, shard: Shard, label: bytes) -> int:
        return number_in(label)

    def name(self, shard: Shard, file: OpenFile, offset: int) -> str:
        # A long name, or one that is no ASCII, stands in a header of its own before that of the member.
        return next(member.name for member in walk(file.descriptor, shard.bytes) if member.offset == offset)

    def check(self, shards: Sequence[Shard]) -> None:
        """They were all looked at."""

    def _indexed(self, place: str) -> _Indexed:
        if not remote.is_url(place):
            return self._indexed_here(place)
        try:
            return self._indexed_at(place, remote.state(place))
        except OSError as error:
            raise cannot(place, error) from None

    def _indexed_here(self, place: str) -> _Indexed:
        tar = Path(place)
        try:
            status = os.stat(tar)
            beside = tar.with_suffix(".idx")
            kept = self._folder / f"{_identity(os.path.realpath(tar), [status.st_size, status.st_mtime_ns])}.idx"
            text = _read(beside, status.st_size, status.st_mtime_ns) or _read(kept, status.st_size)
            if text is None:
                text = write_index(samples_in(tar))
                if not _keep(beside, text):
                    _keep(kept, text)
            return _Indexed(status.st_size, text, {})
        except FileNotFoundError:
            raise ShardError.missing(tar) from None
        except (ValueError, OSError) as error:
            right = "copy it again; a packed one has to be unpacked, or made into shards with `shard`"
            raise ShardError(place, f"cannot be indexed ({error})", right) from None

    def _indexed_at(self, url: str, state: Mapping[str, str]) -> _Indexed:
        if not state.get("size", "").isdigit():
            raise ShardError(url, "its server does not say how long it is", "copy it to a disk")
        size, kept = int(state["size"]), self._folder / f"{_identity(url, state)}.idx"
        text = _read(kept, size)
        if text is None:
            text = _beside(url, size)
            if text is None:
                tar = self._cache.open(_wanted(url, state))
                text = _read(tar.index, size) or write_index(samples_in(tar.path))
            _keep(kept, text)
        return _Indexed(size, text, state)


def _manifest(where: str, chosen: Sequence[tuple[str, str, str]], indexed: Sequence[_Indexed]) -> Manifest:
    """Of tars with these places, names and splits."""
    shards: list[Shard] = []
    samples: Counter[str] = Counter()
    for (place, name, split), found in zip(chosen, indexed, strict=True):
        count = len(_parsed(place, found.text))
        if count == 0:
            raise ShardError(place, "holds no image", "leave it out, or give tars with .jpg, .png or .webp members")
        shards.append(Shard(name, split, count, found.size, _hash_of(found), samples[split]))
        samples[split] += count
    totals = {"listed": samples.total(), "accepted": samples.total(), "quarantined": 0, "duplicates": 0}
    source = {"name": "webdataset", "path": where}
    return Manifest(shards=tuple(shards), classes=(), totals=totals, source=source, settings={})


def places_of(where: str) -> list[str]:
    """The tars of a folder or URL, or those that a pattern means; none where there are none. Raises `UserError`s."""
    from data_shards.readers.patterns import expand

    if any(mark in where for mark in "{*?") or "::" in where or where.partition("?")[0].endswith(".tar"):
        return expand(where, "tar")
    if not remote.is_url(where):
        return sorted(map(str, Path(where).rglob("*.tar")))
    try:
        return [f"{where.rstrip('/')}/{name}" for name, _ in remote.listing(where) if name.endswith(".tar")]
    except OSError as error:
        raise cannot(where, error) from None


def _parsed(place: str, text: bytes) -> Index:
    try:
        return parse_index(text, _LABELS)
    except ValueError as error:
        raise ShardError(place, f"has an .idx that cannot be read ({error})", "delete it, it is only a copy") from None


def _hash_of(found: _Indexed) -> str:
    return hashlib.sha256(b"%d\n" % found.size + found.text).hexdigest()


def _identity(place: str, state: object) -> str:
    """Another one for another tar, and for one that has changed."""
    return hashlib.sha256(json.dumps([place, state], sort_keys=True).encode()).hexdigest()[:40]


def _wanted(url: str, state: Mapping[str, str]) -> Wanted:
    return Wanted(name=_identity(url, dict(state)), url=url, size=int(state["size"]), state=state)


def _read(path: Path, size: int, changed: int | None = None) -> bytes | None:
    """An index that can be that of a tar of `size` bytes, last changed then (in nanoseconds); None where none is."""
    try:
        if changed is not None and path.stat().st_mtime_ns < changed:
            return None
        text = path.read_bytes()
        index = parse_index(text)
    except (OSError, ValueError):
        return None
    return text if int((index.offset + index.size).max(initial=0)) <= size else None


def _beside(url: str, size: int) -> bytes | None:
    """The index that lies beside a tar at a URL, None where none does."""
    try:
        text = remote.read(url.removesuffix(".tar") + ".idx")
        end = int(parse_index(text).offset.max(initial=0))
    except ImageError as error:
        if error.reason in ("not_found", "forbidden"):
            return None
        raise ShardError(
            url, f"cannot be asked for its index ({error.detail})", "check its server, and repeat"
        ) from None
    except ValueError:
        return None
    return text if end <= size else None


def _keep(path: Path, text: bytes) -> bool:
    """Write an index, whole or not at all; False where that cannot be. Of several processes one writes it."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                file.truncate(0)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                os.replace(partial, path)
            except OSError:
                partial.unlink(missing_ok=True)
                raise
    except BlockingIOError:
        return True
    except OSError:
        return False
    return True
