"""The far end of a measurement: a process that is given jobs over its standard input and answers with their cost.

Imports nothing but the standard library, so that it also runs in the environment of a peer. What is imported before
`serve` is called costs nothing; the first job of each kind is a warm-up and is not counted by those who ask.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def serve(**jobs: Callable[..., Any]) -> None:
    """Answer every line `{"job": name, "arguments": {…}}` with what it cost: seconds, and the peak of memory in bytes.

    Standard output belongs to the answers; what a library prints there is thrown away.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        gc.collect()
        try:
            processor, clock = _processor(), time.perf_counter()
            value = jobs[request["job"]](**request["arguments"])
            clock, processor = time.perf_counter() - clock, _processor() - processor
        except Exception:
            answer: dict[str, Any] = {"error": traceback.format_exc()}
        else:
            answer = {"wall": clock, "processor": processor, "peak": _peak(), "value": value}
        print(json.dumps(answer), file=answers, flush=True)


def sync_files(folder: str) -> None:
    """Bring the files of a folder to the disk, as a packing that survives a power cut does."""
    for path in Path(folder).rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def _processor() -> float:
    """Seconds that this process and its children, ended or not, kept a core busy, in user and system mode."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used) + sum(map(_used_by, _children(os.getpid())))


def _children(process: int) -> list[int]:
    """The processes that live below one."""
    found = []
    for thread in os.listdir(f"/proc/{process}/task"):
        # A thread that has just ended has no children.
        with (
            contextlib.suppress(FileNotFoundError),
            open(f"/proc/{process}/task/{thread}/children", encoding="ascii") as children,
        ):
            for child in map(int, children.read().split()):
                found += [child, *_children(child)]
    return found


def _used_by(process: int) -> float:
    """Seconds, in steps of a clock tick; what its own ended children used included."""
    with open(f"/proc/{process}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _peak() -> int:
    """The most memory that this process ever held, in bytes: imports included."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
