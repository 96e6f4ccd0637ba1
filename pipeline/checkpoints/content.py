"""A hash over tensors that does not depend on how they were cut into pieces; needs no torch.

    row      sha256(number of the row, its bytes)       a row: one index of the first dimension
    tensor   the sum of its rows' hashes modulo 2^256
    root     sha256 over the lines "name, dtype, shape, sum" in the order of names

A sum has no order, so every process adds up the rows that it holds and nothing is gathered: the saves of 1, 2 and 4
processes have one root. Rows of at most 256 bytes, such as the numbers of a bias, would cost more by the call than by
the byte; for them four splitmix64 chains over row number and words, many rows at once, stand in for sha256.

The root tells apart states that differ by damage, by mistake or by chance. It does not stop a person who sets out to
make two states with one sum: sums of hashes yield to Wagner's generalised birthday attack (CRYPTO 2002), and splitmix64
is no cryptographic hash. The plain sha256 of every file in the manifest does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from data_shards.splitmix import U64, mix

MODULUS = 1 << 256
SHORT = 256
"""Bytes of a row up to which rows are mixed together rather than hashed one by one."""
_TOGETHER = 1 << 14  # rows
_LANES = 4

DTYPES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}
"""Bytes of an element, by torch's name for its type."""


def sum_of_rows(content: NDArray[np.uint8], rows: int, first: int = 0) -> int:
    """The sum for `rows` rows that lie in `content` (bytes, 1-D) one after the other, `first` the number of the first.

    A tensor without dimensions is one row. Equal for any way to cut a tensor into ranges of rows, once the parts are
    added modulo 2^256.
    """
    if not content.size:
        return 0
    width = content.size // rows
    if width <= SHORT:
        return _sum_of_short_rows(content.reshape(rows, width), first)
    total, view = 0, content.data
    for row in range(rows):
        leaf = hashlib.sha256((first + row).to_bytes(8, "little"))
        leaf.update(view[row * width : (row + 1) * width])
        total += int.from_bytes(leaf.digest(), "little")
    return total % MODULUS


def root(tensors: Iterable[tuple[str, str, Sequence[int], int]]) -> str:
    """One hash over tensors given as name, dtype (torch's name), shape and sum of rows, in any order."""
    lines = hashlib.sha256()
    for name, dtype, shape, total in sorted(tensors):
        lines.update(f"{name}\0{dtype}\0{','.join(map(str, shape))}\0{total:064x}\n".encode())
    return lines.hexdigest()


def _sum_of_short_rows(rows: NDArray[np.uint8], first: int) -> int:
    total = 0
    words = -(-rows.shape[1] // 8)
    for start in range(0, len(rows), _TOGETHER):
        some = rows[start : start + _TOGETHER]
        padded = np.zeros((len(some), words * 8), np.uint8)
        padded[:, : some.shape[1]] = some
        columns = np.ascontiguousarray(padded.view("<u8").T)
        numbers = np.arange(first + start, first + start + len(some), dtype=U64)
        for lane in range(_LANES):
            chain = mix(numbers, lane + 1)
            for column in columns:
                chain = mix(column ^ chain, lane + 1)
            high, low = int((chain >> U64(32)).sum(dtype=U64)), int((chain & U64(0xFFFFFFFF)).sum(dtype=U64))
            total += ((high << 32) + low) << (64 * lane)
    return total % MODULUS
