"""A hash over tensors that does not depend on how they were cut into pieces; needs no torch.

    row      256 bits over the number of the row and its bytes (rows.py); a row: one index of the first dimension
    tensor   the sum of its rows modulo 2^256
    root     sha256 over the lines "name, dtype, shape, sum" in the order of names

A sum has no order, so every process adds up the rows that it holds and nothing is gathered: the saves of 1, 2 and 4
processes have one root.

The root tells apart states that differ by damage, by mistake or by chance. It does not stop a person who sets out to
make two states with one sum: whatever hashes the rows, sums of many hashes yield to the generalised birthday attack
(Wagner, CRYPTO 2002). So rows are hashed by the fastest mixing that sees every bit, not by sha256, which would take
and give back the interpreter lock for every row, in the midst of training. The manifest has the sha256 of every file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

MODULUS = 1 << 256

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


def root(tensors: Iterable[tuple[str, str, Sequence[int], int]]) -> str:
    """One hash over tensors given as name, dtype (torch's name), shape and sum of rows, in any order."""
    lines = hashlib.sha256()
    for name, dtype, shape, total in sorted(tensors):
        lines.update(f"{name}\0{dtype}\0{','.join(map(str, shape))}\0{total:064x}\n".encode())
    return lines.hexdigest()
