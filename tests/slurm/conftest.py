"""One cluster for all tests of a session. They take minutes, so only `make slurm-test` runs them, alone."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm.cluster import Cluster, missing


@pytest.fixture(scope="session")
def machines() -> Iterator[Cluster]:
    """Three nodes of a real SLURM, or a skip with the reason."""
    if "SLURM_TEST" not in os.environ:
        pytest.skip("jobs on a real SLURM take minutes; run them with: make slurm-test")
    if reason := missing():
        pytest.skip(reason)
    with Cluster(nodes=3) as cluster:
        yield cluster


@pytest.fixture
def cluster(machines: Cluster) -> Iterator[Cluster]:
    """The same, with all nodes up and idle afterwards."""
    yield machines
    machines.restore()
