"""How much memory is free: of the machine, or of the container where that has less."""

from __future__ import annotations

import os
import re
from pathlib import Path

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def free_memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int:
    """Bytes that a process may still take: what the system has, or less where its container (cgroup v2) says so.

    Of a container's limit what it holds is taken already; but for files that it has read, which the kernel drops first.
    Where the system says nothing, it is half of all memory.
    """
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(meminfo), re.MULTILINE)
    available = int(found[1]) * 1024 if found else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    limit, held = (_text(cgroup / name).strip() for name in ("memory.max", "memory.current"))
    if not limit.isdecimal():
        return available
    files = re.findall(r"^(?:in)?active_file (\d+)$", _text(cgroup / "memory.stat"), re.MULTILINE)
    taken = max(0, int(held) - sum(map(int, files))) if held.isdecimal() else 0
    return min(available, max(0, int(limit) - taken))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
