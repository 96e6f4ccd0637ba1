"""Where the samples of a shard lie in its tar: offsets and sizes, so that any of them is one read away.

Beside each tar lies DALI's text index (`wds2idx`, v1.2), written when the shard is finished:

    v1.2 2
    jpg 512 110253 000000000-cat.jpg cls 111616 1 000000000-cat.cls json 112640 180 000000000-cat.json
    jpg 113664 98712 ...

It is read into arrays. Where it is absent, as beside a tar of someone else, the headers are walked instead. White
space in the names of someone else becomes `_`: the format has no other way, and nothing is looked up by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_shards.errors import ShardError
from data_shards.tar import Member, walk

VERSION = b"v1.2"
IMAGE_EXTENSIONS = frozenset({"jpg", "jpeg", "jpe", "png", "webp", "gif", "bmp", "tif", "tiff", "img"})
LABEL_EXTENSION = "cls"
_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """Offsets and sizes in bytes, one row a sample; where a sample has no label, its label offset is -1."""

    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    label_offset: NDArray[np.int64]
    label_size: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offset)


def write_index(samples: list[list[Member]]) -> bytes:
    """The text of an index of samples, each the members that share a key."""
    return join_index([index_line(members) for members in samples])


def index_line(members: list[Member]) -> bytes:
    """The line of an index for one sample."""
    names = [_SPACE.sub("_", member.name) for member in members]
    fields = [f"{_extension(name)} {m.offset} {m.size} {name}" for name, m in zip(names, members, strict=True)]
    return " ".join(fields).encode("utf-8", "surrogateescape") + b"\n"


def join_index(lines: list[bytes]) -> bytes:
    """The text of an index of these lines."""
    return b"%s %d\n" % (VERSION, len(lines)) + b"".join(lines)


def samples_in(tar: Path) -> list[list[Member]]:
    """The samples of a tar, each a run of members with one key, by walking its headers.

    Raises `ValueError` or `OSError` for a damaged or unreadable tar.
    """
    descriptor = os.open(tar, os.O_RDONLY)
    try:
        return samples_of(walk(descriptor, os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


def samples_of(members: Iterable[Member]) -> list[list[Member]]:
    """The samples of these members, each a run of them with one key. Hidden files and such without an extension are
    no samples, by WebDataset's rule."""
    samples: list[list[Member]] = []
    last = None
    for member in members:
        key = key_of(member.name)
        if not key.rpartition("/")[2] or key == member.name:
            continue
        if key == last:
            samples[-1].append(member)
        else:
            samples.append([member])
            last = key
    return samples


def read_index(tar: Path) -> Index:
    """The index of a tar, from the file beside it or else from its headers. Raises `ShardError`."""
    try:
        beside = tar.with_suffix(".idx")
        return parse_index(beside.read_bytes()) if beside.exists() else index_of(samples_in(tar))
    except FileNotFoundError:
        raise ShardError.missing(tar) from None
    except (ValueError, OSError) as error:
        raise ShardError(
            str(tar),
            f"cannot be indexed ({error})",
            "the tar or its .idx is damaged",
            f"python -m data_shards verify {tar.parent}",
        ) from None


def index_of(samples: Iterable[list[Member]]) -> Index:
    """The index of samples, each the members that share a key. Samples without an image are left out."""
    return _from_rows([(_extension(m.name), m.offset, m.size) for m in members] for members in samples)


def parse_index(text: bytes, labels: Sequence[str] = (LABEL_EXTENSION,)) -> Index:
    """An index from its text. Samples without an image are left out.

    The label of a sample is its first member with one of the extensions `labels`. Raises `ValueError`.
    """
    head, _, body = text.partition(b"\n")
    version, _, count = head.partition(b" ")
    if version != VERSION or not count.strip().isdigit():
        raise ValueError(f"an index begins with {VERSION.decode()!r} and a count, not {head[:40]!r}")
    lines = body.splitlines()
    if len(lines) != int(count):
        raise ValueError(f"the index promises {int(count)} samples and holds {len(lines)}")
    tokens = body.split()
    width = len(lines[0].split()) if lines else 0
    if width and width % 4 == 0 and len(tokens) == width * len(lines):
        kinds = [set(tokens[column::width]) for column in range(0, width, 4)]
        if all(
            len(kind) == 1 for kind in kinds
        ):  # worth the trouble: the usual case, every sample with the same members
            return _from_columns([kind.pop().decode() for kind in kinds], tokens, len(lines), labels)
    rows = [line.split() for line in lines]
    if any(len(row) % 4 for row in rows):
        raise ValueError("a line of the index is not made of extension, offset, size and name")
    return _from_rows(
        ([(row[at].decode(), int(row[at + 1]), int(row[at + 2])) for at in range(0, len(row), 4)] for row in rows),
        labels,
    )


def _from_columns(extensions: list[str], tokens: list[bytes], count: int, labels: Sequence[str]) -> Index:
    """From the tokens of lines that all have members with these extensions."""
    width = 4 * len(extensions)

    def numbers(member: int, field: int) -> NDArray[np.int64]:
        return np.fromiter(map(int, tokens[4 * member + field :: width]), np.int64, count)

    image = next((member for member, extension in enumerate(extensions) if _is_image(extension)), None)
    if image is None:
        return _from_rows([])
    label = next((extensions.index(extension) for extension in labels if extension in extensions), None)
    if label is None:
        return Index(numbers(image, 1), numbers(image, 2), np.full(count, -1), np.zeros(count, np.int64))
    return Index(numbers(image, 1), numbers(image, 2), numbers(label, 1), numbers(label, 2))


def _from_rows(rows: Iterable[list[tuple[str, int, int]]], labels: Sequence[str] = (LABEL_EXTENSION,)) -> Index:
    """From extension, offset and size of each member of each sample."""
    found = []
    for members in rows:
        image = next((place for extension, *place in members if _is_image(extension)), None)
        of = {extension: place for extension, *place in members}
        label = next((of[extension] for extension in labels if extension in of), [-1, 0])
        if image is not None:
            found.append(image + label)
    table = np.array(found, np.int64).reshape(-1, 4)
    return Index(*(np.ascontiguousarray(column) for column in table.T))


def key_of(name: str) -> str:
    """The key of a sample, from the name of a member: all before the first dot of the base name, WebDataset's rule."""
    directory, slash, base = name.rpartition("/")
    return directory + slash + base.partition(".")[0]


def image_in(members: Iterable[Member]) -> Member | None:
    """The member of a sample that is its image, None where there is none."""
    return next((member for member in members if is_image(member.name)), None)


def is_image(name: str) -> bool:
    """Whether a member is an image, by the end of its name."""
    return _is_image(_extension(name))


def _is_image(extension: str) -> bool:
    return extension.rpartition(".")[2].lower() in IMAGE_EXTENSIONS


def _extension(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2]
