"""Training is the same on one process and on two, and goes on where it stopped on any number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipeline.stages.conftest import Done, run

EXACT = ("trainer.precision=fp32", "trainer.duration=10 steps", "trainer.watch_every=0 steps")


def losses(out: Path) -> list[float]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == list(range(1, len(records) + 1))
    return [r["loss"] for r in records]


@pytest.mark.slow
def test_two_sharded_processes_give_the_losses_of_one(chain: tuple[Path, Done], recipes: Path, tmp_path: Path) -> None:
    found = []
    for devices in (1, 2):
        out = tmp_path / str(devices)
        done = run(
            *("pretrain", str(recipes / "pretrain.yaml"), f"shards={chain[0] / 'shard'}", f"out={out}", *EXACT),
            f"trainer.devices={devices}",
        )
        assert done.status == 0, done.errors
        found.append(losses(out))
    assert len(found[0]) == 10
    assert found[1] == pytest.approx(found[0], abs=1e-5)


@pytest.mark.slow
def test_a_run_begun_on_one_process_goes_on_with_two(chain: tuple[Path, Done], recipes: Path, tmp_path: Path) -> None:
    command = ("pretrain", str(recipes / "pretrain.yaml"), f"shards={chain[0] / 'shard'}", *EXACT)
    whole = run(*command, f"out={tmp_path / 'whole'}")
    assert whole.status == 0, whole.errors
    first = run(*command, f"out={tmp_path / 'parts'}", "trainer.checkpoint_every=4 steps")
    assert first.status == 0, first.errors
    parts = tmp_path / "parts"
    for path in (parts / "checkpoints").iterdir():
        if path.name != "step-000000008":
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    (parts / "artifact.json").unlink()
    second = run(*command, f"out={parts}", "trainer.checkpoint_every=4 steps", "trainer.devices=2")
    assert second.status == 0, second.errors
    assert "going on from step 8" in second.output
    assert losses(parts) == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)
