"""One start of a job, as its batch script runs it on the job's first node.

    1. stop, if the last starts came no further
    2. preflight on every node; a job with an unfit one goes back to the queue and will not be given that node again
    3. one task per GPU, by `srun`, each with a log of its own; they meet at the first node
    4. done, failed, or back to the queue

What becomes of a job of pretrain or finetune whose tasks have ended:

    0 everywhere                        done
    first 75 (`PREEMPTED`)              requeued: the tasks were told to stop, and have saved
    first SIGUSR2 or SIGTERM            requeued: told to stop before they could save
    2                                   failed: a mistake of the user's stays one
    anything else                       requeued if the run has a newer checkpoint than when it began, else failed

Jobs of other stages fail where they end badly: they save nothing to go on from. No job is requeued that was cancelled,
or that SLURM has taken back already.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline import slurm
from pipeline.distributed import PREEMPTED
from pipeline.errors import JobError
from pipeline.jobs import preflight
from pipeline.jobs.starts import Starts, newest_step
from pipeline.jobs.target import Target
from pipeline.runs import JOBS
from pipeline.slurm import Allocation, Failure

TOLD_TO_STOP = (PREEMPTED, 128 + signal.SIGUSR2, 128 + signal.SIGTERM)
MISTAKE = 2
LINES = 25
"""Of a failed task's log, shown in the job's."""


def launch(target: Target) -> int:
    """Run a stage as this job; gives the exit status of the batch script. Raises `JobError`, also as its comment."""
    job = Allocation.here()
    try:
        return _start(job, target)
    except JobError as error:
        with contextlib.suppress(JobError):
            slurm.comment(job.job, str(error))
        raise


def _start(job: Allocation, target: Target) -> int:
    _require_shape(job, target)
    starts, step = Starts(target.out), newest_step(target.out)
    if target.trains:
        starts.require_progress(job, step)
    with _surviving_sigterm():
        unfit = _preflight(job, target)
        if unfit:
            return _without(unfit, job, target, starts)
        starts.began(job, step, slurm.waited(job.job))
        logs = target.out / JOBS / job.name
        _say(f"{target.stage}: start {job.restart + 1} of job {job.job}, {job.tasks} tasks on {', '.join(job.nodes)}")
        _say(f"{target.stage}: follow it with: tail -F {logs}/rank-0000.log")
        failure = _tasks(job, target, logs)
        return afterwards(failure, job, target, starts, step)


def _require_shape(job: Allocation, target: Target) -> None:
    """Raise `JobError` for tasks and GPUs that a stage cannot use."""
    where = f"job {job.job}"
    if "SLURM_GPUS_PER_TASK" in os.environ:
        raise JobError(
            where, "was given --gpus-per-task, which hides a task's GPU from the others", "--gpus-per-node=N"
        )
    if target.processes is None and job.tasks > 1:
        raise JobError(where, f"has {job.tasks} tasks, but {target.stage} is the work of one", "give --ntasks=1")
    if target.processes and job.gpus and job.gpus != job.tasks_per_node:
        raise JobError(
            where,
            f"has {job.tasks_per_node} tasks on each node and {job.gpus} GPUs",
            f"give each GPU its task: --ntasks-per-node={job.gpus}",
        )


def command(job: Allocation, target: Target, logs: Path) -> list[str]:
    """The `srun` that starts the tasks."""
    part = target.processes
    own = [f"{part}.nodes={len(job.nodes)}", f"{part}.devices={job.tasks_per_node}"] if part else []
    return [
        "srun",
        "--kill-on-bad-exit=1",
        *_layout(job, job.tasks_per_node),
        f"--output={logs}/rank-%4t.log",
        "--open-mode=append",
        *(_python(), "-m", "pipeline", target.stage, *target.words, *own),
    ]


def meeting(job: Allocation) -> dict[str, str]:
    """What the tasks must know to find one another, and not to crowd their cores."""
    threads = os.environ.get("SLURM_CPUS_PER_TASK", "1")
    port = str(slurm.meeting_port(job.number))
    return {"MASTER_ADDR": job.nodes[0], "MASTER_PORT": port, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": threads}


def tell_unfit(job: Allocation, healths: Mapping[str, preflight.Health], began: float, ended: float) -> dict[str, str]:
    """Node and reason of every node of the job that is unfit, which was examined between two times.

    Raises `JobError` where every node fails a check and that is hardly their own fault: it is on what they share, or
    there are several of them.
    """
    findings = {node: _faults(job, healths.get(node), began, ended) for node in job.nodes}
    likely = [{f.check for f in faults if f.shared or len(job.nodes) > 1} for faults in findings.values()]
    for check in sorted(set.intersection(*likely)):
        reason = next(fault.reason for fault in findings[job.nodes[0]] if fault.check == check)
        raise JobError(check, f"{reason}; every node of the job fails this", "put it right and submit again")
    return {node: f"{faults[0].check}: {faults[0].reason}" for node, faults in findings.items() if faults}


def _faults(job: Allocation, health: preflight.Health | None, began: float, ended: float) -> list[preflight.Fault]:
    if health is None:
        # Where srun came back by itself, what it was to run cannot be run: that is hardly one node's fault.
        came_back = ended - began < _patience()
        return [preflight.Fault("preflight", f"no answer in {ended - began:.0f} s", shared=came_back)]
    late = preflight.too_far(max(began - health.time, health.time - ended), f"{job.nodes[0]}'s")
    return [*health.faults, *([preflight.Fault("clock", late)] if late else [])]


def _preflight(job: Allocation, target: Target) -> dict[str, str]:
    words = [_python(), "-m", "pipeline.jobs", "preflight", str(job.tasks_per_node), target.stage, *target.words]
    began = time.time()
    with subprocess.Popen(
        ["srun", "--kill-on-bad-exit=0", *_layout(job, 1), *words], stdout=subprocess.PIPE, text=True
    ) as nodes:
        try:
            output, _ = nodes.communicate(timeout=_patience())
        except subprocess.TimeoutExpired:
            nodes.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                nodes.wait(10)
            nodes.kill()
            output, _ = nodes.communicate()
    return tell_unfit(job, preflight.read(output), began, time.time())


def _patience() -> float:
    """Seconds that nodes have for the preflight: most of it goes into starting Python from a shared disk."""
    return float(os.environ.get("PREFLIGHT_SECONDS", "180"))


def _without(unfit: dict[str, str], job: Allocation, target: Target, starts: Starts) -> int:
    """Back to the queue, away from the unfit nodes."""
    for node, reason in unfit.items():
        starts.unfit(job, node, reason)
        _say(f"{target.stage}: {node} is unfit: {reason}")
    told = "; ".join(f"{node}: {reason}" for node, reason in unfit.items())
    others = slurm.excluded(job.job)
    slurm.requeue(job.job)  # first: only of a waiting job can these be changed
    slurm.exclude(job.job, [*others, *unfit])
    slurm.comment(job.job, f"not on {told}")
    _say(f"{target.stage}: job {job.job} goes back to the queue without {', '.join(unfit)}")
    return PREEMPTED


def _tasks(job: Allocation, target: Target, logs: Path) -> Failure | None:
    """Run them; gives the first that ended badly."""
    logs.mkdir(parents=True, exist_ok=True)
    messages = logs / "srun.log"
    with messages.open("wb") as file:
        environment = {**os.environ, **meeting(job)}
        status = subprocess.run(command(job, target, logs.absolute()), stderr=file, env=environment).returncode
    said = messages.read_text(encoding="utf-8", errors="replace")
    sys.stderr.write(said)
    if status == 0:
        return None
    return slurm.first_failure(said) or Failure((), status if status > 0 else 128 - status, "srun itself stopped")


def afterwards(failure: Failure | None, job: Allocation, target: Target, starts: Starts, began_at: int) -> int:
    """Say and record what became of the tasks, and requeue the job where that is right."""
    step = newest_step(target.out)
    if failure is None:
        starts.ended(job, step, 0, "done")
        _say(f"{target.stage}: done")
        return 0
    saved = f"the newest checkpoint is of step {step}" if step else "there is no checkpoint yet"
    told = failure.status in TOLD_TO_STOP
    if not told:
        show_logs(target.out / JOBS / job.name, failure)
    again = target.trains and (told or (failure.status != MISTAKE and step > began_at))
    if again and not slurm.is_running(job.job):
        starts.ended(job, step, failure.status, "cancelled")
        _say(f"{target.stage}: job {job.job} was ended from outside; {saved}, and the same submission goes on from it")
    elif again:
        why = "was told to stop" if told else f"failed ({failure.how})"
        _say(f"{target.stage}: {why}; {saved}; job {job.job} goes back to the queue")
        try:
            slurm.requeue(job.job)
        except JobError:
            starts.ended(job, step, failure.status, "failed")
            raise
        starts.ended(job, step, failure.status, "requeued")
    else:
        starts.ended(job, step, failure.status, "failed")
        _say(f"{target.stage}: failed ({failure.how}); {saved}; logs of all tasks: {target.out / JOBS / job.name}")
    return failure.status


def show_logs(logs: Path, failure: Failure) -> None:
    """The end of the log of each task that failed first, at most two, in the job's own log."""
    for rank in failure.ranks[:2]:
        path = logs / f"rank-{rank:04d}.log"
        with contextlib.suppress(OSError):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:]
            _say(f"--- task {rank} ended with: {failure.how}; the end of {path}:")
            for line in lines:
                _say(f"{rank:>4} | {line}")


def _layout(job: Allocation, per_node: int) -> Sequence[str]:
    # srun does not take over --cpus-per-task from the job (since SLURM 22.05).
    cpus = os.environ.get("SLURM_CPUS_PER_TASK")
    shape = [f"--nodes={len(job.nodes)}", f"--ntasks={per_node * len(job.nodes)}", f"--ntasks-per-node={per_node}"]
    return [*shape, f"--cpus-per-task={cpus}"] if cpus else shape


def _python() -> str:
    """The interpreter that the job's script was told to use."""
    return os.environ.get("PYTHON", sys.executable)


@contextlib.contextmanager
def _surviving_sigterm() -> Iterator[None]:
    """SLURM ends a job by SIGTERM, first of all to this script: the tasks need it to save, and then it has to tell."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(text: str) -> None:
    print(text, flush=True)
