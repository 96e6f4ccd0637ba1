"""Freed memory stays with the process, so that the next step meets no page fault."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from pipeline.training.memory import keep_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(16 << 20)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
without, kept = faults(), keep_memory()
for _ in range(3):
    faults()
print(without, kept, faults())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="the C library is not glibc")
def test_memory_that_was_freed_is_used_again_without_page_faults() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    without, kept, faults = done.stdout.split()
    assert kept == "True"
    assert int(faults) * 10 < int(without)
