"""Shards at a URL serve every stage that reads some, with the results of the same shards in a directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.artifacts import Artifact
from tests.commands import Done


@pytest.mark.parametrize("stage", ["probe", "finetune", "export"])
def test_a_url_gives_what_a_directory_gives(
    stage: str, chain: tuple[Path, Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    done = chain[0] / stage
    url = (chain[0] / "shard").as_uri()
    arguments = [stage, str(done / "config.yaml"), f"shards={url}", f"out={tmp_path / 'out'}"]
    assert main(arguments) == 0
    made, before = Artifact.load(tmp_path / "out"), Artifact.load(done)
    assert made.content == before.content
    assert json.dumps(made.figures, sort_keys=True) == json.dumps(before.figures, sort_keys=True)
