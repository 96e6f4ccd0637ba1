"""Vectors that both sides of a search make for themselves, alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def vectors(bank: int, queries: int, width: int, classes: int = 100) -> tuple[NDArray[Any], NDArray[Any]]:
    """fp32 rows about a hundred centres, as features are: bank (bank, width) and queries (queries, width)."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((classes, width), dtype=np.float32)
    found = [
        centres[draw.integers(0, classes, count)] + 1.5 * draw.standard_normal((count, width), dtype=np.float32)
        for count in (bank, queries)
    ]
    return found[0], found[1]
