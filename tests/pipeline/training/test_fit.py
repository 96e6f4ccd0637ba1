"""Training is the same on one process and on two, and goes on where it stopped on any number.

In fp64: SwAV's first steps amplify rounding, so that in fp32 one process with one thread and with two already differ by
5e-4 in the third loss. Records have six digits: the last may be rounded either way.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.commands import Done, run

EXACT = (
    *("trainer.precision=fp64", "trainer.duration=10 steps", "trainer.watch_every=0 steps"),
    *("trainer.checkpoint_every=4 steps", "trainer.keep=9"),
)


def losses(out: Path) -> list[float]:
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {r["step"] for r in records if "shuffle" in r} == {0, 4, 8}, "once an epoch of 3.75 steps"
    records = [record for record in records if "loss" in record]
    assert [r["step"] for r in records] == list(range(1, 11))
    return [r["loss"] for r in records]


def pretrain(chain: tuple[Path, Done], recipes: Path, out: Path, devices: int) -> Done:
    shards = f"shards={chain[0] / 'shard'}"
    settings = (*EXACT, f"trainer.devices={devices}")
    done = run("pretrain", str(recipes / "pretrain.yaml"), shards, f"out={out}", *settings)
    assert done.status == 0, done.errors
    return done


@pytest.fixture(scope="module")
def alone(chain: tuple[Path, Done], recipes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten steps on one process, with checkpoints after the fourth and the eighth."""
    out = tmp_path_factory.mktemp("alone") / "run"
    pretrain(chain, recipes, out, devices=1)
    return out


@pytest.mark.slow
def test_two_sharded_processes_give_the_losses_of_one(
    chain: tuple[Path, Done], recipes: Path, alone: Path, tmp_path: Path
) -> None:
    pretrain(chain, recipes, tmp_path / "run", devices=2)
    assert losses(tmp_path / "run") == pytest.approx(losses(alone), abs=1.5e-6)


@pytest.mark.slow
def test_a_run_begun_on_one_process_goes_on_with_two(
    chain: tuple[Path, Done], recipes: Path, alone: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(alone, out)
    (out / "artifact.json").unlink()
    shutil.rmtree(out / "checkpoints" / "step-000000010")
    (out / "checkpoints" / "step-000000008" / "tensors.json").write_bytes(b"damaged")
    done = pretrain(chain, recipes, out, devices=2)
    assert "step-000000008 is damaged (tensors.json has changed: 7 bytes, not" in done.output
    assert "going on from step 4 of 10" in done.output
    assert losses(out) == pytest.approx(losses(alone), abs=1.5e-6)
