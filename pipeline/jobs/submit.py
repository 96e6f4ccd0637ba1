"""A chain as jobs: each waits for the jobs whose results it reads, and runs the config that `chain` would run.

    OUT/chain.yaml              the chain, as `chain` itself notes it
    OUT/recipes/RUN.yaml        the complete config of each run
    OUT/jobs.json               run → job
    OUT/RUN/jobs/JOB.log        what a job said
    OUT/chain-JOB.log           what became of all: written by a last job, which runs whatever happened

Options of `sbatch` for a stage stand in the variable STAGE_OPTIONS (PRETRAIN_OPTIONS="--nodes=2 …"), which a file in
slurm/clusters may set. A job whose input was not made is cancelled by SLURM (--kill-on-invalid-dep).
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline import config, slurm
from pipeline.artifacts import write_atomically
from pipeline.errors import ArtifactError, JobError
from pipeline.jobs.status import SUBMITTED, follow, submitted, tell
from pipeline.runs import JOBS, disk_error
from pipeline.stages import chain
from pipeline.stages.chain import Link

RECIPES = "recipes"
_OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")


def submit(recipe: str, overrides: Sequence[str], scripts: Path = Path("slurm")) -> str:
    """Submit a chain; gives what to tell: the jobs, and how to watch them.

    Raises `ConfigError` with the mistakes of all runs, and `JobError`; then nothing stays submitted.
    """
    settings, links = chain.load(recipe, overrides)
    out = Path(settings.out)
    _require_idle(out)
    missing = [link.stage for link in links if not (scripts / f"{link.stage}.sbatch").is_file()]
    if missing:
        raise JobError(str(scripts), f"has no {missing[0]}.sbatch", "submit from the root of the project")
    chain.note(settings, links)
    jobs: dict[str, str] = {}
    try:
        for link, needed in zip(links, chain.needs(links).values(), strict=True):
            waits = _after("afterok", [jobs[run] for run in needed])
            script = scripts / f"{link.stage}.sbatch"
            jobs[link.run] = _sbatch(*_options(link, out), *waits, str(script), str(_write(link, out)))
        last = [f"--job-name={out.name}", f"--output={out}/chain-%j.log", *_after("afterany", list(jobs.values()))]
        jobs["chain"] = _sbatch(*last, str(scripts / "conclude.sbatch"), str(out))
        write_atomically(out / SUBMITTED, json.dumps(jobs, indent=1))
    except BaseException:
        for job in jobs.values():
            slurm.ask("scancel", job)
        raise
    return _told(jobs, links, out)


def conclude(out: Path) -> int:
    """Say what became of a chain; its summary where all of it is finished. Gives the exit status."""
    runs = follow(out)
    print(tell(out, runs), flush=True)
    try:
        artifacts = chain.conclude(out)
    except ArtifactError:
        undone = [run.name for run in runs if run.state != "done"]
        failed = [run for run in runs if run.failed]
        for run in failed:
            print(f"{run.name} failed ({run.remark}); its logs: {out / run.name / JOBS}")
        if stopped := [name for name in undone if name not in {run.name for run in failed}]:
            print(f"not run: {', '.join(stopped)}")
        print("Next: put it right; the same slurm/chain.sh goes on, and does nothing twice.", flush=True)
        return 1
    print(f"\n{chain.table(chain.summarise(artifacts))}", flush=True)
    return 0


def _write(link: Link, out: Path) -> Path:
    path = out / RECIPES / f"{link.run}.yaml"
    try:
        path.parent.mkdir(exist_ok=True)
        (out / link.run / JOBS).mkdir(parents=True, exist_ok=True)  # sbatch makes no folder for a log
        write_atomically(path, config.dump(config.to_mapping(link.config)))
    except OSError as error:
        raise disk_error(path, error) from error
    return path


def _options(link: Link, out: Path) -> list[str]:
    given = os.environ.get(f"{link.stage.upper()}_OPTIONS", "")
    named = "%A_%a" if "--array" in given else "%j"
    return [f"--job-name={link.run}", f"--output={out}/{link.run}/{JOBS}/{named}.log", *shlex.split(given)]


def _after(how: str, jobs: Sequence[str]) -> list[str]:
    return [f"--dependency={how}:{':'.join(jobs)}", "--kill-on-invalid-dep=yes"] if jobs else []


def _sbatch(*words: str) -> str:
    return slurm.ask("sbatch", "--parsable", *words, empty="wrong").strip().partition(";")[0]


def _require_idle(out: Path) -> None:
    """Two submissions of one chain would be in each other's way."""
    for run, job in submitted(out).items():
        if any(facts.get("JobState") not in _OVER for facts in slurm.show(job)):
            raise JobError(
                str(out),
                f"is being worked on: {run} is job {job}",
                "wait for it, or cancel its jobs",
                f"scancel {' '.join(submitted(out).values())}",
            )


def _told(jobs: Mapping[str, str], links: Sequence[Link], out: Path) -> str:
    needs = chain.needs(links)
    width = max(map(len, jobs))
    lines = [f"{'job':>8}  run", *(f"{job:>8}  {run:<{width}}{_waits(needs.get(run))}" for run, job in jobs.items())]
    return "\n".join(
        [
            *(line.rstrip() for line in lines),
            "",
            f"watch:  python -m pipeline status {out}",
            f"logs:   {out}/RUN/{JOBS}/JOB.log, and {out}/chain-{jobs['chain']}.log when all is over",
            f"cancel: scancel {' '.join(jobs.values())}",
        ]
    )


def _waits(needed: Sequence[str] | None) -> str:
    if needed is None:
        return "  at the end, whatever happened"
    return f"  after {', '.join(needed)}" if needed else ""
