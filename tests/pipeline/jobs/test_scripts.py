"""The job scripts: one for each stage, all of one form."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.jobs.target import TRAINS
from pipeline.stages import STAGES

FOLDER = Path(__file__).parents[3] / "slurm"
SCRIPTS = sorted(path for path in FOLDER.rglob("*") if path.suffix in (".sh", ".sbatch"))


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "chain"])
def test_every_stage_has_a_script(stage: str) -> None:
    text = (FOLDER / f"{stage}.sbatch").read_text()
    assert f'job launch {stage} "$@"\n' in text
    assert "#SBATCH --requeue" in text
    assert "#SBATCH --open-mode=append" in text, "a requeued job goes on in its log"
    # A stage that does not heed the signal would die of it.
    assert ("#SBATCH --signal=USR2@120" in text) == (stage in TRAINS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_shell_can_read_every_script(script: Path) -> None:
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True).stderr == ""
