"""The commands that scripts call: their mistakes are one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.jobs.__main__ import main


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["lunch", "pretrain"],
            "error: pipeline.jobs: 'lunch pretrain' is none of its commands; they are launch STAGE",
        ),
        ([], "error: pipeline.jobs: 'nothing' is none of its commands"),
        (["submit"], "error: chain.sh: no recipe was given; name one. Next: slurm/chain.sh configs/chain/demo.yaml"),
        (["launch", "pretrain"], "error: SLURM: this is no job; submit it"),
        (["sweep", "pretrain", "c.yaml", "none.txt"], "error: none.txt: cannot be read"),
        (["conclude", "none"], "error: none: does not exist"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(says)


def test_a_node_answers_in_one_line_of_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preflight", "2", "shard", f"out={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert json.loads(said)["faults"] == []
