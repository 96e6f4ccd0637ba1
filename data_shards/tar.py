"""Plain ustar: the headers we write, and a walk over those that anyone wrote.

A member is a header of 512 bytes and its bytes, padded to 512; an archive ends with two empty headers. Ours carry no
time, user or group, so the same members give the same bytes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import NamedTuple

BLOCK = 512
END = bytes(2 * BLOCK)
_MAX_SIZE = 8**11 - 1
_WINDOW = 8 * BLOCK  # read at once: the headers of small members lie close together

# name[100] mode[8] uid[8] gid[8] size[12] mtime[12] checksum[8] type[1] link[100] magic[8], then zeros
_HEAD = b"0000644\x000000000\x000000000\x00"
_TAIL = b"00000000000\x00        0" + bytes(100) + b"ustar\x0000"
_TAIL_AFTER_CHECKSUM = _TAIL[20:] + bytes(BLOCK - 100 - len(_HEAD) - 12 - len(_TAIL))
_FIXED_SUM = sum(_HEAD) + sum(_TAIL)
_ADLER = 65521


class Member(NamedTuple):
    """A file in a tar: its name, and the offset and size of its bytes."""

    name: str
    offset: int
    size: int


def header(name: str, size: int) -> bytes:
    """The header of a file of `size` bytes. `name` is ASCII of at most 100 characters."""
    encoded = name.encode("ascii")
    assert 0 < len(encoded) <= 100, name
    assert 0 <= size <= _MAX_SIZE, size
    digits = b"%011o\0" % size
    checksum = _FIXED_SUM + sum(encoded) + sum(digits)
    return b"".join((encoded.ljust(100, b"\0"), _HEAD, digits, _TAIL[:12], b"%06o\0 " % checksum, _TAIL_AFTER_CHECKSUM))


def append(members: list[tuple[str, bytes]], at: int) -> tuple[list[bytes], list[Member]]:
    """What adds these files (name, content) to a tar that has `at` bytes, and where they will lie.

    Of each file comes its header, its content and its padding, not joined: contents are large.
    """
    parts: list[bytes] = []
    placed: list[Member] = []
    for name, content in members:
        size = len(content)
        placed.append(Member(name, at + BLOCK, size))
        parts += (header(name, size), content, padding(size))
        at += BLOCK + size + -size % BLOCK
    return parts, placed


def size_of(members: list[tuple[str, bytes]]) -> int:
    """The bytes that `append` makes of these files."""
    return sum(BLOCK + len(content) + -len(content) % BLOCK for _, content in members)


def padding(size: int) -> bytes:
    """The zeros that bring `size` bytes to whole blocks."""
    return END[: -size % BLOCK]


def walk(file: int, end: int) -> Iterator[Member]:
    """The files of a tar in their order, by reading headers only. `file` is a descriptor, `end` the length to believe.

    Long names of pax and GNU tar are understood. Raises `ValueError` where a header is damaged or the tar is cut off; a
    tar without its closing blocks is accepted, as a partial one has none.
    """
    at, long_name, long_size = 0, None, None
    window, start = b"", 0
    while at + BLOCK <= end:
        if not start <= at <= start + len(window) - BLOCK:
            window, start = os.pread(file, _WINDOW, at), at
        block = window[at - start : at - start + BLOCK]
        if len(block) < BLOCK:
            raise ValueError(f"cut off at byte {at}")
        if block.count(0) == BLOCK:
            return
        size, kind = _parse(block, at)
        at += BLOCK
        if kind in b"xgL":
            content = os.pread(file, size, at)
            if kind == b"L":
                long_name = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif kind == b"x":
                fields = _pax(content)
                long_name = fields.get("path", long_name)
                long_size = int(fields["size"]) if "size" in fields else None
                if long_size is not None and long_size < 0:
                    raise ValueError(f"a member of {long_size} bytes at byte {at}")
        else:
            size = long_size if long_size is not None else size
            if at + size > end:
                raise ValueError(f"cut off inside the member at byte {at}")
            if kind in (b"0", b"\0"):
                yield Member(long_name or name_in(block), at, size)
            long_name = long_size = None
        at += size + -size % BLOCK
    if at != end and at < end + BLOCK:
        raise ValueError(f"cut off at byte {end}")


def name_in(block: bytes) -> str:
    """The name in a ustar header."""
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")


def size_in(block: bytes) -> int:
    """The size in a header. Raises `ValueError` where it is none."""
    if len(block) < BLOCK:
        raise ValueError("no tar header")
    return _parse(block, 0)[0]


def _parse(block: bytes, at: int) -> tuple[int, bytes]:
    """Size and kind of a member, after its checksum held."""
    try:
        checksum = int(block[148:156].split(b"\0", 1)[0].strip() or b"0", 8)
        digits = block[124:136]
        large = digits[0] & 0x80
        size = int.from_bytes(digits[1:], "big") if large else int(digits.split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError:
        raise ValueError(f"no tar header at byte {at}") from None
    # Adler-32 begins with the sum of all bytes, modulo a prime: twenty times as fast as `sum`.
    found = (zlib.adler32(block) & 0xFFFF) - 1 - sum(block[148:156]) + 8 * 32
    if (found - checksum) % _ADLER or not 0 <= checksum <= BLOCK * 255 or size < 0:
        raise ValueError(f"a damaged header at byte {at}")
    return size, block[156:157]


def _pax(content: bytes) -> dict[str, str]:
    """Fields of a pax header: lines of `length key=value`. Raises `ValueError`."""
    fields = {}
    while content:
        digits, _, _ = content.partition(b" ")
        length = int(digits)
        key, equals, value = content[len(digits) + 1 : length].rstrip(b"\n").partition(b"=")
        if length <= len(digits) or not equals:
            raise ValueError("a pax header that is no list of fields")
        fields[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        content = content[length:]
    return fields
