"""The most memory that something needs beyond what the process holds. Linux tells; elsewhere nothing is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def _figure(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Fail where the resident memory rises by more than `limit` bytes at any moment inside."""
    if not _STATUS.exists():
        yield
        return
    _RESET.write_text("5")  # the highest mark so far is forgotten
    before = _figure("VmRSS")
    yield
    risen = _figure("VmHWM") - before
    assert risen < limit, f"{risen >> 20} MiB more"
