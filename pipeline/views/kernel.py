"""How the kernels of this folder are compiled.

- Every kernel releases the GIL, so a thread pool fills a batch on all cores.
- A kernel that Python calls is an `entry`: it is compiled once and kept in numba's cache. The kernels it calls are
  compiled into it and have no cache of their own.
- Where LLVM does not see vectors by itself, lanes.py writes them down. Its SLP vectoriser would see some; numba leaves
  it off because it has had bugs, and so do we.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])
Pixels: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Offsets: TypeAlias = NDArray[np.uint64]
Record: TypeAlias = Any
"""One element of a structured array: its fields are attributes in compiled code."""

_OPTIONS = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
_FILES = ("kernel.py", "offsets.py", "lanes.py", "draw.py", "resample.py", "photometric.py", "render.py")


def kernel(function: Function) -> Function:
    """A compiled function for use by other kernels."""
    compiled: Function = numba.njit(fastmath=True, **_OPTIONS)(function)
    return compiled


def entry(function: Function) -> Function:
    """A kernel called from Python, cached on disk.

    numba looks for changes only in the file of the cached function itself and would go on using machine code made
    from an older resample.py. So the name under which the code is kept carries a hash of all kernel files. Where
    neither NUMBA_CACHE_DIR, the package nor the user's cache folder can be written, it is compiled in every process.
    """
    function.__qualname__ += f"-{_sources()}"
    compiled: Function
    try:
        compiled = numba.njit(fastmath=True, cache=True, **_OPTIONS)(function)
    except RuntimeError:  # numba found no folder for its cache
        compiled = numba.njit(fastmath=True, **_OPTIONS)(function)
    return compiled


def _sources() -> str:
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in _FILES)).hexdigest()[:12]
