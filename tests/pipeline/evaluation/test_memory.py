"""Memory that is free, of a machine and of a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.evaluation.memory import free_memory

AVAILABLE = 2048 * 1024


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        ({}, AVAILABLE),
        ({"max": "max\n", "current": "5\n"}, AVAILABLE),
        ({"max": "1000000\n"}, 1_000_000),
        ({"max": "1000000\n", "current": "400000\n"}, 600_000),
        ({"max": "1000000\n", "current": "400000\n", "stat": "anon 1\nactive_file 100000\ninactive_file 9\n"}, 700_009),
        ({"max": "1000000\n", "current": "1000001\n"}, 0),
        ({"max": "9000000\n", "current": "4000\n"}, AVAILABLE),
    ],
    ids=[
        "no container",
        "no limit",
        "a limit",
        "a part of it taken",
        "by files that were read",
        "all",
        "a large limit",
    ],
)
def test_memory_is_what_the_system_has_or_less_where_the_container_says_so(
    tmp_path: Path, cgroup: dict[str, str], expected: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9999 kB\nMemAvailable:    2048 kB\n")
    for name, text in cgroup.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_memory(tmp_path / "meminfo", tmp_path) == expected


def test_memory_is_known_where_the_system_keeps_no_such_file(tmp_path: Path) -> None:
    assert free_memory(tmp_path / "none", tmp_path / "none") > 1 << 20
