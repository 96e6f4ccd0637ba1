"""Weights & Biases is offline unless a key is set, and can be left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.training.tracking import NoTracker, WandbTracker, tracker


def test_without_a_key_a_run_is_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    kept = tracker("auto", tmp_path, project="test", identifier="abc", config={"rate": 1})
    assert isinstance(kept, WandbTracker)
    kept.log({"loss": 1.0}, 1)
    kept.log({"loss": 0.5}, 2)
    kept.finish()
    files = list((tmp_path / "wandb").glob("offline-run-*/run-abc.wandb"))
    assert len(files) == 1
    assert files[0].stat().st_size > 0


def test_off_is_off(tmp_path: Path) -> None:
    silent = tracker("off", tmp_path, project="test", identifier="abc", config={})
    assert isinstance(silent, NoTracker)
    silent.log({"loss": 1.0}, 1)
    silent.finish()
    assert not list(tmp_path.iterdir())
