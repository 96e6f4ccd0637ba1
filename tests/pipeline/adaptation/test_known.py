"""The facts that guesses are made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.adaptation.known import free_memory


@pytest.mark.parametrize(
    ("allowed", "expected"), [("max\n", 2048 * 1024), ("1000000\n", 1_000_000), (None, 2048 * 1024)]
)
def test_memory_is_what_the_system_has_or_less_where_the_container_says_so(
    tmp_path: Path, allowed: str | None, expected: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9999 kB\nMemAvailable:    2048 kB\n")
    if allowed is not None:
        (tmp_path / "limit").write_text(allowed)
    assert free_memory(tmp_path / "meminfo", tmp_path / "limit") == expected


def test_memory_is_known_where_the_system_keeps_no_such_file(tmp_path: Path) -> None:
    assert free_memory(tmp_path / "none", tmp_path / "none") > 1 << 20
