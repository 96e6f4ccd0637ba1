"""The run directory: one stage's place on disk, and the four files that every run has.

    config.yaml      the resolved config, enough to run it again
    metrics.jsonl    one JSON object a record, append-only; a resumed run drops records beyond the step it resumes from
    report.html      what happened, for a browser
    artifact.json    written last: a directory that has one is finished

A directory belongs to one fingerprint. Another config is refused rather than mixed in; `config.yaml` says whose it is.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import FILE, write_atomically
from pipeline.errors import RunError

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
REPORT = "report.html"
CHAIN = "chain.yaml"
"""In the directory above: the chain that a run belongs to."""
JOBS = "jobs"
"""What is known of a run's jobs on a cluster: their logs and their starts. It may be there before the run."""
OWNER = ".fingerprint"


@dataclass(frozen=True)
class Run:
    """A stage at work in its directory. Only the first process of a job writes."""

    path: Path
    fingerprint: str
    writes: bool = True

    @classmethod
    def open(cls, path: Path, fingerprint: str, config_text: str, *, writes: bool = True) -> Run:
        """Make or re-enter a run directory. Raises `RunError` if it holds another run or cannot be written."""
        run = cls(path, fingerprint, writes)
        if not writes:
            return run
        try:
            path.mkdir(parents=True, exist_ok=True)
            owner = _read(path / OWNER)
            # What begins with a dot may be another job's that is just entering.
            if owner is None and any(not found.name.startswith(".") and found.name != JOBS for found in path.iterdir()):
                raise RunError(
                    str(path),
                    "is not empty and holds no run of this pipeline",
                    "give an empty or new directory",
                    "out=DIR",
                )
            if owner is not None and owner != fingerprint:
                raise RunError(
                    str(path),
                    f"holds a run of another config or other inputs{_changed(path / CONFIG, config_text)}",
                    "choose another directory with out=DIR, or remove this one if its run is no longer wanted",
                    f"rm -r {path}",
                )
            write_atomically(path / OWNER, fingerprint)
            write_atomically(path / CONFIG, config_text)
            (path / FILE).unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(path, error) from error
        return run

    def record(self, **figures: Any) -> None:
        """Append one record to metrics.jsonl."""
        if self.writes:
            with (self.path / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """All records so far; a last line cut short by a kill is left out."""
        return list(read_records(self.path))

    def rewind(self, keep: Callable[[Mapping[str, Any]], bool]) -> None:
        """Drop the records of work that will be done again, so that no step is recorded twice."""
        if self.writes:
            kept = "".join(json.dumps(record) + "\n" for record in self.records() if keep(record))
            write_atomically(self.path / METRICS, kept)


def read_records(directory: Path) -> Iterator[dict[str, Any]]:
    """The records of a run's metrics.jsonl."""
    path = directory / METRICS
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            yield record


DISK = {
    errno.ENOSPC: ("no space is left on the disk", "free some; the same command goes on where it stopped"),
    errno.EDQUOT: ("the disk quota is used up", "free some space; the same command goes on where it stopped"),
    errno.EACCES: ("may not be written by this user", "choose a directory of your own with out=DIR"),
    errno.EROFS: ("is on a read-only disk", "choose another directory with out=DIR"),
    errno.ENOTDIR: ("lies below a file", "choose another directory with out=DIR"),
    errno.EEXIST: ("is a file", "choose another directory with out=DIR"),
    errno.EIO: ("cannot be read or written: the disk reports an error", "look into the machine's log"),
}
"""What can be wrong with a disk, and the cure."""


def disk_error(path: Path, error: OSError) -> RunError | OSError:
    """The sentence for a directory that cannot be written; the error itself where the disk is not at fault."""
    if error.errno not in DISK:
        return error
    return RunError(str(path), *DISK[error.errno])


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def _changed(path: Path, text: str) -> str:
    """The first lines in which two configs differ."""
    before = (_read(path) or "").splitlines()
    after = text.strip().splitlines()
    different = [f"{b.strip()} → {a.strip()}" for b, a in zip(before, after, strict=False) if a != b]
    return f" (first difference: {different[0]})" if different else ""
