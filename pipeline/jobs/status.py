"""How far runs are: what `python -m pipeline status DIR` shows, of a run, a chain, or any folder of runs.

Read from the run directories, and from SLURM where there is one. Nothing is trusted to be there, or to be whole: what
cannot be read is not shown. Needs no torch and writes nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline import goodput, slurm
from pipeline.artifacts import FILE as ARTIFACT
from pipeline.checkpoints.manifest import FOLDER, PREFIX
from pipeline.errors import JobError
from pipeline.goodput import PARTS, Account, summed
from pipeline.jobs.starts import Record, Starts, newest_step
from pipeline.report.read import KnownRun, number, read
from pipeline.report.wording import duration
from pipeline.runs import CHAIN, CONFIG, JOBS, METRICS
from pipeline.stages.chain import noted
from pipeline.training.schedules import Duration

SUBMITTED = "jobs.json"
"""In the directory of a chain that was submitted: its runs and their jobs."""
FRESH = 300.0
"""Seconds without a record after which a run that SLURM does not know is not taken to be at work."""
RECENT = 5
"""Records over which the speed is averaged."""

_FAILED = {
    "FAILED": "failed",
    "TIMEOUT": "ran out of time",
    "NODE_FAIL": "lost a node",
    "OUT_OF_MEMORY": "ran out of memory",
    "BOOT_FAIL": "got nodes that did not boot",
    "DEADLINE": "was past its deadline",
}
_WAITS = {
    "Dependency": "for what it reads",
    "DependencyNeverSatisfied": "for what will not be made",
    "BeginTime": "to be started again",
    "Resources": "for free nodes",
    "Priority": "behind other jobs",
}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one run is."""

    name: str
    path: Path
    state: str
    """done | running | waiting | failed | cancelled | unfinished | not started"""
    remark: str = ""
    job: str = ""
    step: int | None = None
    steps: int | None = None
    rate: float | None = None
    """Images per second."""
    left: float | None = None
    """Seconds to the last step at this speed."""
    saved: int | None = None
    """Step of the newest checkpoint."""
    saved_ago: float | None = None
    requeues: int = 0
    starts: tuple[Account, ...] = ()
    """What the time of each start went into."""

    @property
    def failed(self) -> bool:
        """Whether it ended badly, and will not go on by itself."""
        return self.state == "failed"


def follow(directory: Path, now: float | None = None) -> list[Progress]:
    """Every run of a chain or folder, or the one run. Raises `JobError` where there is none."""
    runs = [directory / name for name in noted(directory)] if (directory / CHAIN).is_file() else _below(directory)
    if not runs:
        given = "holds no run" if directory.is_dir() else "does not exist"
        raise JobError(str(directory), given, "name a run directory, or a folder of runs such as a chain's")
    jobs = submitted(directory)
    asked = _Asked()
    return [_progress(run, jobs.get(run.name, ""), asked, time.time() if now is None else now) for run in runs]


def tell(directory: Path, runs: Sequence[Progress]) -> str:
    """A table for a terminal."""
    rows: list[tuple[str, ...]] = [("run", "state", "step", "images/s", "time left", "checkpoint", "requeues", "")]
    rows += [_row(run) for run in runs]
    shown = [i for i in range(8) if i < 2 or any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in shown}
    lines = ("  ".join(row[i].ljust(widths[i]) for i in shown).rstrip() for row in rows)
    return "\n".join([str(directory), *lines, *(_spent(run) for run in runs if run.starts)])


def submitted(chain: Path) -> Mapping[str, str]:
    """Run → job of a chain that was submitted; empty where none was, or where this cannot be read."""
    try:
        jobs = json.loads((chain / SUBMITTED).read_text(encoding="utf-8"))
        return {str(run): str(job) for run, job in jobs.items()}
    except (OSError, ValueError, AttributeError):
        return {}


class _Asked:
    """Asks SLURM, until it turns out that there is none, or that it does not answer."""

    def __init__(self) -> None:
        self.answers = True

    def __call__(self, job: str) -> list[dict[str, str]]:
        if not self.answers or not job:
            return []
        try:
            return slurm.parsed(slurm.ask("scontrol", "-o", "show", "job", job, seconds=10, tries=1))
        except JobError as error:
            self.answers = "Invalid job id" in error.given  # it has forgotten this one
            return []


def _progress(path: Path, submitted: str, asked: _Asked, now: float) -> Progress:
    run, records = read(path), Starts(path).read()
    started = next((str(record.get("job")) for record in reversed(records) if record.get("job")), "")
    job = max(submitted, started, key=_order)  # the newer one: SLURM counts its jobs
    known = Progress(
        name=run.name,
        path=path,
        state="unfinished",
        job=job,
        requeues=_requeues(records),
        starts=tuple(goodput.read(path)),
    )
    known = _trained(known, run, now)
    if run.state == "finished":
        return replace(known, state="done", remark=f"in {duration(run.seconds)}", left=None, step=known.steps)
    facts = asked(job)
    state, remark = _in_slurm(facts) or _by_itself(run, records)
    restarts = max((int(fact.get("Restarts", "0") or 0) for fact in facts), default=0)
    working = state == "running" or (state == "unfinished" and _silence(path, now) < FRESH)
    if state == "unfinished" and working:
        remark = f"last sign {duration(_silence(path, now))} ago"
    return replace(
        known,
        state=state,
        remark=remark,
        left=known.left if working else None,
        rate=known.rate if working else None,
        requeues=max(known.requeues, restarts),
    )


def _trained(known: Progress, run: KnownRun, now: float) -> Progress:
    """With what its records and checkpoints tell of a training."""
    records = [record for record in run.records if "loss" in record and "step" in record]
    saved = newest_step(run.path)
    if saved:
        ago = max(0.0, now - _changed(run.path / FOLDER / f"{PREFIX}{saved:09d}", now))
        known = replace(known, saved=saved, saved_ago=ago)
    if not records:
        return known
    rates = [record["images_per_second"] for record in records[-RECENT:] if "images_per_second" in record]
    step, rate = int(records[-1]["step"]), sum(rates) / len(rates) if rates else None
    steps, batch = _steps(run, records[-1]), number(run.setting("trainer.batch"))
    left = (steps - step) * batch / rate if steps and batch and rate else None
    return replace(known, step=step, steps=steps, rate=rate, left=left)


def _steps(run: KnownRun, record: Mapping[str, float]) -> int | None:
    """The steps of the whole training, where its recipe or its records tell."""
    epoch = record.get("epoch", 0)
    try:
        length = Duration.parse(run.setting("trainer.duration"))
        return round(length.steps(record["step"] / epoch if epoch else float("nan")))
    except ValueError:
        return None


def _in_slurm(facts: Sequence[Mapping[str, str]]) -> tuple[str, str] | None:
    """State and remark of a job, or of an array's tasks together: the one that matters most."""
    states = {fact.get("JobState", ""): fact for fact in facts}
    for state, fact in states.items():
        if state in _FAILED:
            return "failed", f"job {_id(fact)} {_FAILED[state]}, exit status {fact.get('ExitCode', '?').split(':')[0]}"
    if found := states.get("RUNNING") or states.get("COMPLETING"):
        return "running", f"job {_id(found)} on {found.get('NodeList', '?')}"
    if found := states.get("PENDING"):
        reason = found.get("Reason", "")
        why = _WAITS.get(reason, f"({reason})")
        comment = found.get("Comment", "")
        return "waiting", f"job {_id(found)} {why}{f'; {comment}' if comment else ''}"
    if found := states.get("CANCELLED"):
        return "cancelled", f"job {_id(found)}"
    return None


def _id(fact: Mapping[str, str]) -> str:
    return fact.get("ArrayJobId") or fact.get("JobId", "?")


def _by_itself(run: KnownRun, records: Sequence[Record]) -> tuple[str, str]:
    """State and remark from the run directory alone."""
    ends = [record for record in records if record["event"] in ("start", "end")]
    if ends and ends[-1].get("outcome") == "failed":
        return "failed", f"job {ends[-1].get('job')}, exit status {ends[-1].get('status')}"
    if not run.config and not (run.path / METRICS).exists():
        return "not started", ""
    return run.state, run.remark


def _requeues(records: Sequence[Record]) -> int:
    """How often its jobs were requeued, all together."""
    last: dict[object, int] = {}
    for record in records:
        restart = number(record.get("restart"))
        last[record.get("job")] = max(last.get(record.get("job"), 0), int(restart or 0))
    return sum(last.values())


def _order(job: str) -> int:
    first = job.partition("_")[0]
    return int(first) if first.isdecimal() else -1


def _row(run: Progress) -> tuple[str, ...]:
    step = "" if run.step is None else f"{run.step:,}" + (f" of {run.steps:,}" if run.steps else "")
    saved = "" if run.saved is None else f"step {run.saved:,}"
    ago = f", {duration(run.saved_ago)} ago" if saved and run.saved_ago is not None and run.state != "done" else ""
    return (
        run.name,
        run.state,
        step,
        "" if run.rate is None else f"{run.rate:,.0f}",
        "" if run.left is None else duration(run.left),
        saved + ago,
        str(run.requeues) if run.requeues else "",
        run.remark,
    )


def _spent(run: Progress) -> str:
    """Where the time of its starts went, in a line."""
    seconds, total = summed(run.starts), sum(account.total for account in run.starts)
    parts = [f"{PARTS[part]} {duration(value)}" for part, value in seconds.items() if value >= 0.05]
    starts = "1 start" if len(run.starts) == 1 else f"{len(run.starts)} starts"
    share = f"{100 * seconds['compute'] / total:.0f} % of {duration(total)} was training" if total else "no time"
    return f"{run.name}: {share}, in {starts}: {', '.join(parts)}"


def _below(directory: Path) -> list[Path]:
    """The directory itself where it is a run, or else the runs in it."""
    if _is_run(directory):
        return [directory]
    return sorted(filter(_is_run, _entries(directory)))


def _is_run(path: Path) -> bool:
    return any((path / name).exists() for name in (CONFIG, ARTIFACT, JOBS))


def _entries(directory: Path) -> Iterable[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_dir()]
    except OSError:
        return []


def _silence(path: Path, now: float) -> float:
    """Seconds since its last record."""
    return max(0.0, now - _changed(path / METRICS, float("-inf")))


def _changed(path: Path, otherwise: float) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return otherwise
