"""States that are compared to the bit are computed by one thread, as the processes of `on_processes` compute."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def computed_by_one_thread(one_thread: None) -> None:
    """Every test here."""
