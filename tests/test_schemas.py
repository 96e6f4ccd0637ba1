"""The JSON Schemas in the tree are those of the code: run `make schema` after changing a config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline import config
from pipeline.stages import STAGES
from pipeline.stages.stage import module

FOLDER = Path(__file__).parent.parent / "configs" / "schema"


@pytest.mark.parametrize("stage", STAGES)
def test_schema_is_current(stage: str) -> None:
    written = json.loads((FOLDER / f"{stage}.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(config.schema(module(stage).Config)))


@pytest.mark.parametrize("stage", STAGES)
def test_every_field_has_a_help_text(stage: str) -> None:
    bare = [
        field.key
        for field in config.describe(module(stage).Config)
        if not field.help and not field.key.endswith("name")
    ]
    assert not bare
