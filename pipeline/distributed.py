"""Which process of a job this is, from the environment that torchrun or SLURM set; and how a job of several starts.

Reading the rank needs no torch. Several processes on this machine are started by torchrun, which also stops the rest
when one fails; on a cluster `srun` has started them already.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence


def rank() -> int:
    """Number of this process in the job, from 0."""
    return int(os.environ["SLURM_PROCID"] if under_srun() else os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes in the job."""
    return int(os.environ["SLURM_NTASKS"] if under_srun() else os.environ.get("WORLD_SIZE", "1"))


def local_world_size() -> int | None:
    """Number of processes on this machine where torchrun has started them; None where it has not."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if "RANK" in os.environ and "LOCAL_WORLD_SIZE" in os.environ else None


def is_first() -> bool:
    """Whether this process writes what the job writes once."""
    return rank() == 0


def is_started() -> bool:
    """Whether something outside has started the processes of this job."""
    return "RANK" in os.environ or under_srun()


def start(arguments: Sequence[str], processes: int) -> int:
    """Run `python -m pipeline ARGUMENTS` as a job of several processes on this machine; gives the exit status.

    Each process gets its share of the cores for torch's own threads.
    """
    threads = max(1, (os.cpu_count() or 1) // processes)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {"OMP_NUM_THREADS": str(threads), "TORCH_CPP_LOG_LEVEL": "ERROR", **os.environ}
    with subprocess.Popen([*command, "-m", "pipeline", *arguments], env=environment) as job:
        try:
            return job.wait()
        except KeyboardInterrupt:
            job.wait()
            raise


def under_srun() -> bool:
    """Whether `srun` started this process; torchrun inside a SLURM job sets RANK and is not meant."""
    return "SLURM_PROCID" in os.environ and "SLURM_STEP_ID" in os.environ and "RANK" not in os.environ
