"""What SLURM gives a job and what it is asked: the only file that knows its variables and commands."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipeline.errors import JobError

SECONDS = 60
"""After so long without an answer of slurmctld, it is taken to be away."""
PAUSE = 2.0
"""Seconds before slurmctld is asked again."""
_BUSY = re.compile("Unable to contact slurm controller|Socket timed out|Zero Bytes were transmitted")
LOWEST_PORT, PORTS = 20000, 12768
"""Meeting points lie below 32768, where Linux begins to hand out ports by itself."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The nodes and tasks that a job has been given, as one of its starts sees them."""

    job: str
    """What `scontrol` calls it: `12`, or `12_3` for a task of an array."""
    number: int
    """Its own number, also in an array."""
    restart: int
    """How often it was requeued before."""
    nodes: tuple[str, ...]
    tasks: int
    gpus: int
    """GPUs per node."""

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Allocation:
        """The one that this batch script runs in. Raises `JobError` outside of a job."""
        if "SLURM_JOB_ID" not in environment:
            raise JobError(
                "SLURM", "this is no job", "submit it", "sbatch slurm/pretrain.sbatch CONFIG.yaml [key=value ...]"
            )
        number = environment["SLURM_JOB_ID"]
        array = environment.get("SLURM_ARRAY_JOB_ID")
        nodes = ask("scontrol", "show", "hostnames", environment["SLURM_JOB_NODELIST"]).split()
        return cls(
            job=f"{array}_{environment['SLURM_ARRAY_TASK_ID']}" if array else number,
            number=int(number),
            restart=int(environment.get("SLURM_RESTART_COUNT", "0")),
            nodes=tuple(nodes),
            tasks=int(environment.get("SLURM_NTASKS", len(nodes))),
            gpus=int(environment.get("SLURM_GPUS_ON_NODE", "0")),
        )

    @property
    def tasks_per_node(self) -> int:
        """Tasks on each node. Raises `JobError` where they are not shared evenly."""
        if self.tasks % len(self.nodes):
            raise JobError(
                f"job {self.job}",
                f"{self.tasks} tasks cannot be shared evenly by {len(self.nodes)} nodes",
                "give --nodes and --ntasks-per-node, one task for each GPU",
            )
        return self.tasks // len(self.nodes)

    @property
    def name(self) -> str:
        """Job and restart in one word, for folders: `12.0`."""
        return f"{self.number}.{self.restart}"


def meeting_port(number: int) -> int:
    """The port at which a job's tasks meet: by its number, or the next that is free on this node, the job's first."""
    for step in range(PORTS):
        port = LOWEST_PORT + (number + step) % PORTS
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return port
    raise JobError(socket.gethostname(), "no port is free for the tasks to meet at", "look what holds them: ss -ltn")


def requeue(job: str) -> None:
    """End this start of the job and let it wait for another. SLURM ends the batch script soon after."""
    ask("scontrol", "requeue", job)


def excluded(job: str) -> list[str]:
    """The lists of nodes that a job keeps off, as SLURM writes them."""
    known = (facts.get("ExcNodeList", "") for facts in parsed(ask("scontrol", "-o", "show", "job", job)))
    return [nodes for nodes in known if nodes not in ("", "(null)")]


def exclude(job: str, nodes: Sequence[str]) -> None:
    """Keep a waiting job off these nodes, and no others."""
    ask("scontrol", "update", f"JobId={job}", f"ExcNodeList={','.join(nodes)}")


def comment(job: str, text: str) -> None:
    """Put a sentence where `scontrol show job` and `squeue -o %k` show it."""
    ask("scontrol", "update", f"JobId={job}", f"Comment={' '.join(text.split())}")


def show(job: str) -> list[dict[str, str]]:
    """What slurmctld knows of a job, one mapping for each of an array's tasks; none of a job that it has forgotten."""
    try:
        return parsed(ask("scontrol", "-o", "show", "job", job))
    except JobError:
        return []


def parsed(lines: str) -> list[dict[str, str]]:
    """The fields of each line of `scontrol -o show`; values may have spaces."""
    field = re.compile(r"(\S+?)=(.*?)(?=\s+[A-Za-z:/]+=|\s*$)")
    return [dict(field.findall(line)) for line in lines.splitlines() if "JobId=" in line]


def is_running(job: str) -> bool:
    """Whether the job is neither cancelled, nor out of time, nor on its way back to the queue."""
    return [facts.get("JobState") for facts in show(job)] == ["RUNNING"]


def waited(job: str) -> float | None:
    """Seconds that the job was in the queue before this start, since it was submitted or requeued."""
    for facts in show(job):
        with contextlib.suppress(KeyError, ValueError):
            submitted, started = (datetime.fromisoformat(facts[name]) for name in ("SubmitTime", "StartTime"))
            return max(0.0, (started - submitted).total_seconds())
    return None


def here() -> str | None:
    """The job that this process is part of, as `scontrol` calls it; None outside of one."""
    return os.environ.get("SLURM_JOB_ID")


def ends(job: str) -> float | None:
    """When the job's time is up, in seconds since 1970; None where it has no limit or nothing answers."""
    with contextlib.suppress(JobError, ValueError, LookupError):
        told = parsed(ask("scontrol", "-o", "show", "job", job, seconds=10, tries=1))[0]["EndTime"]
        return datetime.fromisoformat(told).timestamp()
    return None


@dataclass(frozen=True)
class Failure:
    """The tasks that ended badly first, as `srun` reported it."""

    ranks: tuple[int, ...]
    status: int
    how: str


_ENDINGS: Mapping[str, int] = {"User defined signal 1": 138, "User defined signal 2": 140, "Terminated": 143}


def first_failure(messages: str) -> Failure | None:
    """The first of `srun`'s lines on tasks that ended badly: the later ones are often of tasks that it stopped."""
    for tasks, how in re.findall(r"^srun: error: \S+: tasks? ([\d,-]+): (.+?)\s*$", messages, re.MULTILINE):
        code = re.search(r"exit code (\d+)", how)
        known = [status for words, status in _ENDINGS.items() if how.startswith(words)]
        status = int(code[1]) if code else (known or [137])[0]
        return Failure(_numbers(tasks), status, how)
    return None


def _numbers(text: str) -> tuple[int, ...]:
    """`0,2-4` as numbers."""
    spans = [span.partition("-") for span in text.split(",") if span]
    return tuple(n for first, _, last in spans for n in range(int(first), int(last or first) + 1))


def ask(*words: str, empty: Literal["fine", "wrong"] = "fine", seconds: float = SECONDS, tries: int = 3) -> str:
    """What a command of SLURM prints. Raises `JobError` with its own message where it fails.

    A busy slurmctld is asked again, but not to submit a second time what it may have taken.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, preexec_fn=_ignore_sigterm)
    except FileNotFoundError:
        raise JobError(words[0], "is no command here", "run this where SLURM is installed") from None
    except subprocess.TimeoutExpired:
        raise JobError(words[0], f"gave no answer in {seconds:.0f} s", "try again later", "scontrol ping") from None
    if done.returncode and tries > 1 and words[0] == "scontrol" and _BUSY.search(done.stderr):
        time.sleep(PAUSE)
        return ask(*words, empty=empty, seconds=seconds, tries=tries - 1)
    if done.returncode or (empty == "wrong" and not done.stdout.strip()):
        said = " ".join(done.stderr.split()) or f"stopped with status {done.returncode}"
        raise JobError(" ".join(words[:3]), said, "SLURM refused this; see its message")
    return done.stdout


def _ignore_sigterm() -> None:
    """For a command of a job that is being requeued: SLURM ends all processes of the batch script, this one too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
