"""Indices: from the file beside a tar or from its headers, and in the format of DALI's wds2idx."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from data_shards.errors import ShardError
from data_shards.index import Index, index_of, parse_index, read_index, samples_in, write_index
from tests.data_shards.pictures import jpeg, listed, pack_into


def columns(index: Index) -> list[list[int]]:
    return [column.tolist() for column in (index.offset, index.size, index.label_offset, index.label_size)]


def wds2idx(path: Path) -> str:
    """The index as DALI's script writes it, told by its documentation: one line a sample, `ext offset size name`."""
    samples: list[tuple[str, list[str]]] = []
    with tarfile.open(path) as tar:
        for member in tar:
            directory, slash, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            if not samples or samples[-1][0] != directory + slash + stem:
                samples.append((directory + slash + stem, []))
            samples[-1][1].append(f"{extension} {member.offset_data} {member.size} {member.name}")
    return f"v1.2 {len(samples)}\n" + "".join(" ".join(members) + "\n" for _, members in samples)


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_the_index_beside_a_shard_is_that_of_dali(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(7))
    assert (tmp_path / "train-000000.idx").read_text() == wds2idx(tmp_path / "train-000000.tar")


def test_an_index_file_says_what_the_headers_say(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(7))
    tar = tmp_path / "train-000000.tar"
    assert columns(read_index(tar)) == columns(index_of(samples_in(tar)))
    (tmp_path / "train-000000.idx").unlink()
    assert columns(read_index(tar)) == columns(index_of(samples_in(tar)))


def test_samples_may_have_different_members(tmp_path: Path) -> None:
    members = [
        ("a.cls", b"3"),
        ("a.jpg", jpeg(1)),
        ("b.png", b"pixels"),
        ("b.json", b"{}"),
        (".hidden", b"no sample"),
        ("folder/c.d.jpeg", b"two dots"),
        ("no_image.txt", b"text"),
        ("with space.webp", b"space"),
    ]
    tar = write_tar(tmp_path / "x.tar", members)
    index = read_index(tar)
    content = tar.read_bytes()
    read = [content[o : o + s] for o, s in zip(index.offset, index.size, strict=True)]
    assert read == [jpeg(1), b"pixels", b"two dots", b"space"]
    assert [
        content[o : o + s] if o >= 0 else None for o, s in zip(index.label_offset, index.label_size, strict=True)
    ] == [
        b"3",
        None,
        None,
        None,
    ]
    named = [sample for sample in samples_in(tar) if " " not in sample[0].name]
    assert columns(parse_index(write_index(named))) == columns(index_of(named))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"v1.1 1\njpg 512 3 a.jpg\n",
        b"v1.2 2\njpg 512 3 a.jpg\n",
        b"v1.2 1\njpg 512 3\n",
        b"v1.2 1\njpg a b a.jpg\n",
    ],
)
def test_a_damaged_index_is_an_error(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        parse_index(text)
    (tmp_path / "x.idx").write_bytes(text)
    with pytest.raises(ShardError, match=r"x\.tar"):
        read_index(tmp_path / "x.tar")


def test_an_index_without_samples_or_images_is_empty() -> None:
    assert len(parse_index(b"v1.2 0\n")) == 0
    assert len(parse_index(b"v1.2 2\ntxt 512 3 a.txt\ntxt 1024 3 b.txt\n")) == 0
    assert np.array_equal(parse_index(b"v1.2 1\njpg 512 3 a.jpg\n").label_offset, [-1])
