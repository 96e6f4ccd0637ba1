"""The project's own job scripts, submitted as a user does, with their logs where a test finds them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.slurm.cluster import Cluster

ROOT = Path(__file__).parents[2]


def submit(
    cluster: Cluster, script: str, *words: str | Path, options: Sequence[str] = (), python: str | Path = sys.executable
) -> str:
    """`sbatch slurm/SCRIPT.sbatch WORDS` from the root of the project; gives the job's number."""
    output = f"--output={cluster.folder}/job-%A.txt"
    path = ROOT / "slurm" / f"{script}.sbatch"
    return cluster.submit("-D", ROOT, output, "--time=5", *options, path, *words, PYTHON=str(python))


def log(cluster: Cluster, job: str) -> str:
    """What a job has printed; of an array, all of its tasks."""
    path = cluster.folder / f"job-{job}.txt"
    return path.read_text() if path.exists() else ""


def ended(cluster: Cluster, job: str, state: str = "COMPLETED", seconds: float = 90) -> str:
    """What a job has printed, once it has ended in this state."""
    found = cluster.wait(job, seconds)
    assert found == state, f"{found}:\n{log(cluster, job)}"
    return log(cluster, job)


def pretending(folder: Path, hangs: str = "") -> Path:
    """An interpreter for jobs whose `python -m pipeline pretrain` is `pretend.py`, and which hangs on one node."""
    path, pretend = folder / "python", Path(__file__).parent / "pretend.py"
    path.write_text(
        f"""#!/bin/sh
[ "$(hostname)" != "{hangs}" ] || sleep 1000
case "$*" in
  "-m pipeline pretrain"*) shift 3; exec {sys.executable} {pretend} "$@" ;;
  *) exec {sys.executable} "$@" ;;
esac
"""
    )
    path.chmod(0o755)
    return path
