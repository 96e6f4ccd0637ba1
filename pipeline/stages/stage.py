"""What a stage is to the runner, and how one runs: inputs, fingerprint, skip or work, artifact."""

from __future__ import annotations

import fcntl
import importlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, cast

from pipeline import artifacts, config, distributed, goodput
from pipeline.artifacts import Artifact
from pipeline.errors import RunError
from pipeline.preemption import Preempted
from pipeline.runs import Run, disk_error


@dataclass(frozen=True)
class Input:
    """An artifact that a stage reads."""

    path: str
    kind: str
    stages: tuple[str, ...] = ()
    """Which stages a chain takes it from, best first; any that makes the kind when empty."""
    split: str = "train"
    """Of shards, the split that is read."""
    may_change: bool = False
    """Whether the run goes on although its content has become another one; the stage sees to it that this is sound."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a stage gives the runner, which makes the artifact of it."""

    kind: str
    content: str
    files: tuple[str, ...] = ()
    known_files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further files, whose `bytes` and hash the stage knows."""
    figures: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Stage(Protocol):
    """A module in `pipeline/stages`."""

    Config: type

    def inputs(self, config: Any) -> Mapping[str, Input]: ...

    def run(self, config: Any, inputs: Mapping[str, Artifact], run: Run) -> Result: ...


def module(name: str) -> Stage:
    """The module of a stage."""
    return cast(Stage, importlib.import_module(f"pipeline.stages.{name}"))


def execute(name: str, settings: Any) -> Artifact:
    """Run a stage, or say that its artifact is up to date. The same call again is always safe."""
    stage = module(name)
    part, processes = _processes(settings)
    if distributed.is_started() and distributed.world_size() != processes:
        raise RunError(
            name,
            f"the job has {distributed.world_size()} processes, but {part}.devices times {part}.nodes is {processes}",
            f"start as many as the recipe asks for, or set {part}.devices and {part}.nodes",
        )
    wanted = stage.inputs(settings)
    given = {key: _load(i, name, key) for key, i in wanted.items()}
    contents = {key: "" if wanted[key].may_change else artifact.content for key, artifact in given.items()}
    asked = artifacts.fingerprint(name, config.identity(settings), contents)
    out = Path(settings.out)
    done = _finished(out, asked)
    if done is not None:
        if recheck := getattr(stage, "recheck", None):
            recheck(settings, done)
        _say(f"{name}: {out} is up to date ({done.fingerprint[:12]})")
        return done
    if check := getattr(stage, "check", None):
        check(settings)
    first = distributed.is_first()
    run = Run.open(out, asked, config.dump(config.to_mapping(settings)), writes=first)
    if processes > 1 and not distributed.is_started():
        return _start_job(name, out, processes, asked)
    with _alone(out) if first and not getattr(stage, "SHARED", False) else _nothing():
        started = time.perf_counter()
        try:
            result = stage.run(settings, given, run)
        except OSError as error:
            raise disk_error(out, error) from error
        artifact = Artifact(
            stage=name,
            kind=result.kind,
            fingerprint=asked,
            content=result.content,
            files={**artifacts.describe_files(out, result.files), **result.known_files} if first else {},
            inputs={k: {"path": wanted[k].path, "kind": a.kind, "content": a.content} for k, a in given.items()},
            figures=result.figures,
            facts=result.facts,
            config=config.to_mapping(settings),
            version=_version(),
            seconds=round(time.perf_counter() - started, 2),
            path=out,
        )
        if first:
            artifact.save()
            goodput.stage_over()
            if result.kind != "report":
                _report(out)
    return artifact


def _processes(settings: Any) -> tuple[str, int]:
    """The part of a recipe that says on how many processes the stage runs, and how many."""
    found = [(part, getattr(settings, part).processes) for part in ("trainer", "compute") if hasattr(settings, part)]
    return found[0] if found else ("trainer", 1)


def _load(wanted: Input, stage: str, key: str) -> Artifact:
    if wanted.kind == "shards":
        return artifacts.shards_at(wanted.path, wanted.split, wanted_by=stage, key=key)
    return Artifact.load(wanted.path, wanted.kind, wanted_by=stage, key=key)


def _finished(out: Path, asked: str) -> Artifact | None:
    if not (out / artifacts.FILE).is_file():
        return None
    artifact = Artifact.load(out)
    if artifact.fingerprint != asked:
        return None
    damaged = artifact.damaged()
    if damaged:
        _say(f"{artifact.stage}: {damaged[0]} in {out} is missing or has changed; making it again")
        return None
    return artifact


def _start_job(name: str, out: Path, processes: int, asked: str) -> Artifact:
    status = distributed.start([name, str(out / "config.yaml")], processes)
    if status == distributed.PREEMPTED:
        raise Preempted  # said by the processes
    if status:
        raise RunError(
            str(out),
            f"a process of the {name} job stopped with status {status}",
            "its messages are above; the same command goes on from the last checkpoint",
        )
    artifact = _finished(out, asked)
    assert artifact is not None, "the job ended well without an artifact"
    return artifact


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the run directory: two processes at work in one would overwrite each other."""
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                str(out), "another process is at work in this run directory", "wait for it, or choose out=DIR"
            ) from None
        yield


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _report(out: Path) -> None:
    from pipeline.report import write

    write([out], out)


def _version() -> str:
    try:
        return version("seer-pipeline")
    except PackageNotFoundError:
        return "uninstalled"


def _say(text: str) -> None:
    if distributed.is_first():
        print(text, flush=True)
