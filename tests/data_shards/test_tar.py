"""Tars: ours are read by Python's tarfile, and those it writes are read by us."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_shards.tar import END, append, header, name_in, size_of, walk

NAMES = st.text("abcxyz0189-_/.", min_size=1, max_size=100).filter(lambda name: not name.startswith(("/", ".")))


@given(st.dictionaries(NAMES.filter(lambda n: not n.endswith("/")), st.binary(max_size=1500), min_size=1, max_size=5))
def test_tarfile_reads_what_we_write(members: dict[str, bytes]) -> None:
    parts, placed = append(list(members.items()), 0)
    content = b"".join(parts)
    assert len(content) == size_of(list(members.items()))
    with tarfile.open(fileobj=io.BytesIO(content + END)) as tar:
        read = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        assert read == members
        assert all(member.mtime == member.uid == member.gid == 0 for member in tar)
    for member in placed:
        assert content[member.offset : member.offset + member.size] == members[member.name]
        assert name_in(content[member.offset - 512 : member.offset]) == member.name


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_we_read_what_tarfile_writes(format: int, tmp_path: Path) -> None:
    names = ["a.jpg", "d" * 60 + "/" + "e" * 90 + ".jpg", "with space.png"]
    if format != tarfile.USTAR_FORMAT:
        names += ["f" * 300 + ".jpg", "übung.webp"]
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=format) as tar:
        tar.addfile(tarfile.TarInfo("folder/"))
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = 100 * number
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    with tarfile.open(path) as tar, open(path, "rb") as file:
        expected = [(m.name, m.offset_data, m.size) for m in tar if m.isreg()]
        found = [tuple(member) for member in walk(file.fileno(), path.stat().st_size)]
    assert [m for m in found if not m[0].endswith("/")] == [m for m in expected if not m[0].endswith("/")]


@pytest.mark.parametrize("cut", [100, 600, 1024 + 100])
def test_a_tar_that_is_cut_off_is_not_believed(cut: int, tmp_path: Path) -> None:
    content = b"".join(append([("a.jpg", bytes(700)), ("b.jpg", bytes(10))], 0)[0])
    path = tmp_path / "x.tar"
    path.write_bytes(content[:cut] if cut < 1024 else content[: 1536 + cut - 1024])
    with open(path, "rb") as file, pytest.raises(ValueError, match="cut off"):
        list(walk(file.fileno(), os.path.getsize(path)))


def test_a_damaged_header_is_noticed(tmp_path: Path) -> None:
    content = bytearray(b"".join(append([("a.jpg", b"x"), ("b.jpg", b"y")], 0)[0]))
    content[1024 + 5] ^= 1
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with open(path, "rb") as file, pytest.raises(ValueError, match="damaged header at byte 1024"):
        list(walk(file.fileno(), os.path.getsize(path)))


def crafted(size: bytes, kind: bytes = b"0", name: str = "a.jpg") -> bytes:
    """A header with any field for the size, and a checksum that holds."""
    block = bytearray(header(name, 0))
    block[124:136], block[156:157] = size.ljust(12, b"\0"), kind
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * 32)
    return bytes(block)


@pytest.mark.parametrize(
    "hostile",
    [
        crafted(b"-0000000512") + bytes(2048),
        crafted(b"\xff" * 12) + bytes(2048),
        crafted(b"77777777777") + bytes(2048),
        crafted(b"00000000010", b"x") + b"no field".ljust(512, b"\0") + crafted(b"0") + bytes(1024),
        crafted(b"00000000010", b"x") + b"0 a=b\n".ljust(512, b"\0") + crafted(b"0") + bytes(1024),
        crafted(b"00000000014", b"x") + b"12 size=-99\n".ljust(512, b"\0") + crafted(b"0") + bytes(1024),
        crafted(b"00000000014", b"x") + b"12 size=abc\n".ljust(512, b"\0") + crafted(b"0") + bytes(1024),
    ],
)
def test_hostile_headers_are_refused(hostile: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(hostile)
    with open(path, "rb") as file, pytest.raises(ValueError):
        list(walk(file.fileno(), len(hostile)))
