"""report: every run below a directory in one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.artifacts import FILE, Artifact, digest
from pipeline.errors import ArtifactError
from pipeline.report import write
from pipeline.runs import REPORT, Run
from pipeline.stages.stage import Input, Result

WHOLE_CHAIN = "runs"
"""The key that a chain sets to its own directory: this stage reads every run of it."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `report`."""

    out: str = field(default="runs/report", metadata={"identity": False})
    """Directory that gets `report.html`."""
    runs: str = field(default="runs", metadata={"identity": False})
    """Directory whose runs are reported: itself a run, or a folder of runs such as a chain's."""


def inputs(config: Config) -> Mapping[str, Input]:
    """Every finished run found, whatever its kind."""
    found = {path.name: Input(str(path), Artifact.load(path).kind) for path in _runs(config)}
    if not found:
        raise ArtifactError(
            config.runs, "holds no finished run", "name a run directory or a folder of them with runs=DIR"
        )
    return found


def run(config: Config, inputs: Mapping[str, Artifact], run: Run) -> Result:
    """Write the page."""
    write(
        [artifact.path for artifact in sorted(inputs.values(), key=lambda a: (a.path / FILE).stat().st_mtime)], run.path
    )
    contents = {name: artifact.content for name, artifact in inputs.items()}
    return Result(kind="report", content=digest(contents), files=(REPORT,))


def _runs(config: Config) -> list[Path]:
    directory = Path(config.runs)
    candidates = [directory, *sorted(directory.iterdir())] if directory.is_dir() else []
    return [p for p in candidates if (p / FILE).is_file() and p.resolve() != Path(config.out).resolve()]
