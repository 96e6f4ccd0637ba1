"""Flat uint64 offsets: how the kernels of this folder reach into arrays.

With signed offsets numba adds a wrap-around test to every access (a[-1] is legal), which keeps LLVM from vectorising;
with a slice a loop it counts references. So arrays are flat and reached by uint64 offsets. In numba uint64 + 1 is a
float64, hence typed constants.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Offset: TypeAlias = Any
"""np.uint64 once compiled. Type checkers cannot follow numba's arithmetic."""

U0, U1, U2, U3, U4, U5, U6, U7, U8 = (np.uint64(n) for n in range(9))
