"""What a job is to run: a stage, its recipe, its overrides, and the directories that these name.

Recipes are read as plain mappings here. Their mistakes are found by the stage itself, which knows their classes and
imports torch; a batch script, and a preflight on a thousand nodes, must not.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pipeline import config
from pipeline.config.recipe import put
from pipeline.errors import JobError
from pipeline.stages import STAGES

TRAINS = ("pretrain", "finetune", "linear")
"""Stages of many tasks, which save checkpoints and go on from them; `linear` over crops alone."""
NO_SHARDS = ("shard", "fetch", "report")
"""Stages that read no shards."""
FEATURES = ("knn", "linear", "lowshot", "retrieval")
"""Stages that read features, and shards only where they are told to."""
_COMPUTES = ("features", "knn", "retrieval", "evaluate")
PROCESSES = {**dict.fromkeys(TRAINS, "trainer"), **dict.fromkeys(_COMPUTES, "compute")}
"""Stages of many tasks, and the part of their recipe that says how many."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A stage with its words, as they follow `python -m pipeline`."""

    stage: str
    words: tuple[str, ...]
    out: Path
    """The run directory."""
    shards: tuple[str, ...]
    """Shard sets that it reads."""
    cache: str | None = None
    """The folder on a node's disk for shards that lie at a URL."""
    over: str | None = None
    """What `linear` learns from, where it is told."""

    @classmethod
    def of(cls, stage: str, words: Sequence[str]) -> Target:
        """From the words of a command line. Raises `JobError`, and `ConfigError` for a recipe that cannot be read."""
        if stage not in STAGES or stage == "chain":
            near = difflib.get_close_matches(stage, STAGES, 1)
            raise JobError(stage, "is no stage", f"did you mean {near[0]}?" if near else f"known: {', '.join(STAGES)}")
        tree: Any = {}
        overrides = list(words)
        if overrides and "=" not in overrides[0]:
            tree = config.read(Path(overrides.pop(0)))
        for override in overrides:
            key, _, text = override.partition("=")
            try:
                put(tree, key, config.parse(text))
            except yaml.YAMLError:
                continue
        given = tree.get("shards") or (() if stage in FEATURES else "runs/shard")
        listed = [part.get("path", "") if isinstance(part, dict) else part for part in _list(given)]
        cache = tree.get("cache")
        return cls(
            stage=stage,
            words=tuple(words),
            out=Path(str(tree.get("out", f"runs/{stage}"))),
            shards=() if stage in NO_SHARDS else tuple(map(str, listed)),
            cache=str(cache["folder"]) if isinstance(cache, dict) and "folder" in cache else None,
            over=str(tree["over"]) if "over" in tree else None,
        )

    @property
    def trains(self) -> bool:
        """Whether it saves checkpoints and goes on from them; over features `linear` begins again, in minutes."""
        return self.stage in TRAINS and (self.stage != "linear" or self.over == "crops")

    @property
    def processes(self) -> str | None:
        """The part of the recipe that says how many tasks there are; None for the work of one."""
        return PROCESSES.get(self.stage)

    def moved(self, out: Path, *overrides: str) -> Target:
        """The same with other overrides and another directory."""
        return replace(self, words=(*self.words, *overrides, f"out={out}"), out=out)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
