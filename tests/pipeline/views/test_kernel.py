"""How kernels are compiled: vectorised as they need it, cached, and never from an older source."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

import pipeline.views
from pipeline.views import kernel
from pipeline.views.draw import draw_views
from pipeline.views.render import render

FOLDER = Path(pipeline.views.__file__).parent

PROGRAM = """
from kernel import entry
@entry
def twice(x):
    return 2 * x
assert twice(21) == 42
print(sum(twice.stats.cache_hits.values()), twice.__qualname__)
"""


def test_every_file_with_a_kernel_is_part_of_the_name_of_an_entry() -> None:
    using = {
        path.name for path in FOLDER.glob("*.py") if re.search(r"^@(kernel|entry|intrinsic)$", path.read_text(), re.M)
    }
    assert using | {"kernel.py", "offsets.py"} == set(kernel._FILES)
    for function in (render, draw_views):
        assert re.search(r"-[0-9a-f]{12}$", function.__qualname__)


def test_an_entry_is_compiled_once_and_found_by_the_next_process(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(FOLDER)}
    runs = [
        subprocess.run(
            [sys.executable, str(program)], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert [run.split()[0] for run in runs] == ["0", "1"]
    assert list((tmp_path / "cache").rglob("*.nbc"))


def test_without_a_folder_for_the_cache_an_entry_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = numba.njit

    def refusing(*args: Any, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function 'f': no locator available")
        return njit(*args, **options)

    monkeypatch.setattr(numba, "njit", refusing)

    def thrice(x: int) -> int:
        return 3 * x

    assert kernel.entry(thrice)(14) == 42
