"""Killed at random instants, a run comes to the same, to the bit. `python -m tests.kill_run` kills more often."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_with_the_weights_of_one_that_was_not() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill_run", "--kills", "10"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "10 × killed" in done.stdout
