"""What is known of a run, read from its directory without trusting a byte of it.

A run is finished when `artifact.json` can be read and its files are there, and otherwise unfinished, damaged or
missing: a state with a remark, never an exception. What comes out has the type it says, so the page need not ask again.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from data_shards.ledger import entries, ledgers_in
from pipeline import goodput
from pipeline.artifacts import FILE, Artifact
from pipeline.config import dump, parse
from pipeline.errors import UserError
from pipeline.goodput import Account
from pipeline.results import FILE as RESULTS
from pipeline.results import SCORES
from pipeline.runs import CONFIG, METRICS, read_records

STAGES = (
    "shard",
    "fetch",
    "pretrain",
    "probe",
    "features",
    "knn",
    "linear",
    "lowshot",
    "retrieval",
    "finetune",
    "evaluate",
    "export",
    "report",
)
"""Stages that leave a run directory. A run's name begins with its stage, which tells it of an unfinished one."""
LARGEST = 1e100
"""Numbers beyond it count as no number: infinity, and what would overflow on the way to a picture. Those that are
smaller than its inverse are 0."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Source:
    """An artifact that a run read."""

    key: str
    path: Path
    content: str


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """One run directory."""

    path: Path
    name: str
    stage: str
    """Empty where nothing tells it."""
    state: str
    """finished | unfinished | damaged | missing"""
    remark: str = ""
    """Why it is not finished, and the cure."""
    kind: str = ""
    fingerprint: str = ""
    content: str = ""
    version: str = ""
    seconds: float = 0.0
    when: datetime | None = None
    """When its artifact was written, or the last sign of life."""
    sources: tuple[Source, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    config_text: str = ""
    records: tuple[Mapping[str, float], ...] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    """Tables and charts as the stage laid them out (`pipeline.results`)."""
    starts: tuple[Account, ...] = ()
    """What the time of each start of a training went into."""
    bad: Mapping[str, int] = field(default_factory=dict)
    """How often a sample could not be used, by reason."""
    bad_samples: int = 0
    """How many samples these were: each comes once an epoch."""

    def setting(self, dotted: str) -> Any:
        """A value of the resolved config, or None."""
        node: Any = self.config
        for key in dotted.split("."):
            node = node.get(key) if isinstance(node, Mapping) else None
        return node

    @property
    def command(self) -> str:
        """What runs it again, or on; empty where its stage or config is not known."""
        return f"python -m pipeline {self.stage} {quoted(self.path / CONFIG)}" if self.stage and self.config else ""


def read_all(paths: Sequence[Path]) -> list[KnownRun]:
    """Several runs; those that share a name are told apart by the directory above."""
    runs = [read(path) for path in paths]
    often = Counter(run.name for run in runs)
    return [replace(run, name=f"{run.path.parent.name}/{run.name}") if often[run.name] > 1 else run for run in runs]


def read(path: Path) -> KnownRun:
    """All there is to know of a run directory; never raises."""
    path = Path(path)
    text = _or(lambda: (path / CONFIG).read_text(encoding="utf-8"), "")
    reasons, samples = _bad_samples(path)
    name = path.name or path.resolve().name
    stage = name.partition("-")[0]
    run = KnownRun(
        path=path,
        name=name,
        stage=stage if stage in STAGES else "",
        state="unfinished",
        config=mapping(_or(lambda: parse(text), None)),
        config_text=text,
        records=_records(path),
        scores=mapping(_json(path / SCORES)),
        results=mapping(_json(path / RESULTS)),
        starts=tuple(goodput.read(path)),
        bad=reasons,
        bad_samples=samples,
        when=_last_change(path / FILE) or _last_change(path / METRICS) or _last_change(path / CONFIG),
    )
    if not path.is_dir():
        return replace(run, state="missing", remark="there is no such directory")
    if not (path / FILE).exists():
        return replace(run, remark=_how_far(run))
    try:
        artifact = Artifact.load(path)
        return _finished(run, artifact, artifact.damaged())
    except UserError as error:
        return replace(run, state="damaged", remark=f"{FILE} {error.given}; {error.right}")
    except (AttributeError, KeyError, TypeError, ValueError, OSError):
        remark = f"{FILE} is not one of this pipeline; remove it and run the stage again"
        return replace(run, state="damaged", remark=remark)


def quoted(path: Path) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < LARGEST:
        return float(value) if abs(value) > 1 / LARGEST else 0.0
    return None


def mapping(value: object) -> dict[str, Any]:
    """A mapping with text for keys, or an empty one."""
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def _finished(run: KnownRun, artifact: Artifact, lost: Sequence[str]) -> KnownRun:
    """The run with what its artifact says."""
    more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    return replace(
        run,
        stage=str(artifact.stage),
        state="damaged" if lost else "finished",
        remark=f"{lost[0]}{more} is missing or has changed; the same command makes it again" if lost else "",
        kind=str(artifact.kind),
        fingerprint=str(artifact.fingerprint),
        content=str(artifact.content),
        version=str(artifact.version),
        seconds=number(artifact.seconds) or 0.0,
        figures=_numbers(artifact.figures),
        facts=mapping(artifact.facts),
        config=run.config or mapping(artifact.config),
        config_text=run.config_text or _or(lambda: dump(dict(artifact.config)), ""),
        sources=tuple(
            Source(key=str(key), path=Path(str(source["path"])), content=str(source["content"]))
            for key, source in artifact.inputs.items()
        ),
    )


def _records(path: Path) -> tuple[Mapping[str, float], ...]:
    """The records up to the first byte that is no text."""
    records = []
    try:
        for record in read_records(path):
            records.append(_numbers(record))
    except (OSError, ValueError):
        pass
    return tuple(records)


def _how_far(run: KnownRun) -> str:
    if not run.config:
        return "holds no run of this pipeline"
    step = max((record.get("step", 0) for record in run.records), default=0)
    reached = f"it got to step {step:,.0f}" if step else "no step is recorded"
    return f"{reached}; the same command goes on where it stopped"


def _bad_samples(path: Path) -> tuple[Mapping[str, int], int]:
    """Lines of the ledgers of a run by reason, and how many samples they name."""
    reasons: Counter[str] = Counter()
    samples = set()
    for ledger in ledgers_in(path):
        lines: list[dict[str, Any]] = _or(partial(_lines, ledger), [])
        for entry in lines:
            reasons[str(entry.get("reason", "unknown"))] += 1
            samples.add((str(entry.get("shard")), str(entry.get("key"))))
    return reasons, len(samples)


def _lines(ledger: Path) -> list[dict[str, Any]]:
    return list(entries(ledger))


def _json(path: Path) -> Any:
    return _or(lambda: json.loads(path.read_text(encoding="utf-8")), None)


def _last_change(path: Path) -> datetime | None:
    return _or(lambda: datetime.fromtimestamp(path.stat().st_mtime, UTC), None)


def _numbers(value: object) -> dict[str, float]:
    return {key: known for key, entry in mapping(value).items() if (known := number(entry)) is not None}


def _or(action: Callable[[], T], otherwise: T) -> T:
    """The action's result, or the other where a file is gone, unreadable or not what it should be, whatever the way."""
    try:
        return action()
    except Exception:
        return otherwise
