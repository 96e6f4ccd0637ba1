"""Each start of a run on a cluster and how it ended, one line each, and whether another start is worth it.

    RUN/jobs/starts.jsonl
        {"event": "start", "job": "12", "restart": 1, "time": …, "nodes": […], "tasks": 16, "step": 500, "waited": 90}
        {"event": "unfit", …, "node": "n7", "reason": "/dev/shm has 1 MiB free; 512 MiB are needed"}
        {"event": "end", …, "step": 900, "status": 75, "outcome": "requeued"}

`step` is that of the newest checkpoint. A start without an end lost its node or was killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.checkpoints.manifest import FOLDER, PREFIX
from pipeline.errors import JobError
from pipeline.runs import JOBS, disk_error
from pipeline.slurm import Allocation

FILE = "starts.jsonl"
LIMIT = 3
"""Starts of one job without a newer checkpoint, after which it is not started again."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Starts:
    """The starts of the run in a directory. Only batch scripts write them, one line in one call."""

    run: Path

    def began(self, start: Allocation, step: int, waited: float | None = None) -> None:
        """The tasks are about to be started, from the checkpoint of `step`, after `waited` seconds in the queue."""
        self._write("start", start, nodes=list(start.nodes), tasks=start.tasks, step=step, waited=waited)

    def ended(self, start: Allocation, step: int, status: int, outcome: str) -> None:
        """The tasks have ended; `outcome` is done, requeued, cancelled or failed."""
        self._write("end", start, step=step, status=status, outcome=outcome)

    def unfit(self, start: Allocation, node: str, reason: str) -> None:
        """A node has not passed the preflight."""
        self._write("unfit", start, node=node, reason=reason)

    def read(self) -> list[Record]:
        """All of them; what is cut short or no record is left out."""
        try:
            lines = (self.run / JOBS / FILE).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        return [record for line in lines if isinstance(record := _parsed(line), dict) and "event" in record]

    def require_progress(self, start: Allocation, step: int, limit: int = LIMIT) -> None:
        """Raise `JobError` where the last `limit` starts of this job began at the step that the run is at still."""
        if stalled(self.read(), start.job, step, limit):
            raise JobError(
                str(self.run),
                f"{limit} starts of job {start.job} came no further than step {step}",
                f"see why in {self.run / JOBS}; the same submission, as a new job, goes on from there",
            )

    def _write(self, event: str, start: Allocation, **facts: Any) -> None:
        folder = self.run / JOBS
        record = {"event": event, "job": start.job, "restart": start.restart, "time": round(time.time(), 3), **facts}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / FILE).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise disk_error(folder, error) from error


def stalled(records: Sequence[Record], job: str, step: int, limit: int) -> bool:
    """Whether the last `limit` starts of a job all began at `step`."""
    steps = [record.get("step") for record in records if record["event"] == "start" and record.get("job") == job]
    return len(steps) >= limit and set(steps[-limit:]) == {step}


def newest_step(run: Path) -> int:
    """The step of the newest checkpoint by its name, 0 without one. Whether it is whole, restoring finds out."""
    names = (path.name.removeprefix(PREFIX) for path in (run / FOLDER).glob(f"{PREFIX}*"))
    return max((int(name) for name in names if name.isdecimal()), default=0)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
