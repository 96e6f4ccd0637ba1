"""Weights & Biases: the only file that imports wandb. Offline unless a key is set; one run per run directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol


class Tracker(Protocol):
    """Where figures go beside metrics.jsonl."""

    def log(self, figures: Mapping[str, float], step: int) -> None: ...

    def finish(self) -> None: ...


class NoTracker:
    """Keeps nothing: metrics.jsonl has it all."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class WandbTracker:
    """One Weights & Biases run, continued by its id when training resumes."""

    def __init__(
        self, directory: Path, *, project: str, identifier: str, name: str, offline: bool, config: Any
    ) -> None:
        import wandb

        self.run = wandb.init(
            project=project,
            id=identifier,
            name=name,
            dir=directory,
            mode="offline" if offline else "online",
            resume=None if offline else "allow",
            config=config,
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Log figures at a step."""
        self.run.log(dict(figures), step=step)

    def finish(self) -> None:
        """Flush and close."""
        self.run.finish()


def tracker(
    mode: Literal["auto", "offline", "off"], directory: Path, *, project: str, identifier: str, config: Any
) -> Tracker:
    """The tracker that a recipe asks for."""
    if mode == "off":
        return NoTracker()
    offline = mode == "offline" or not os.environ.get("WANDB_API_KEY")
    return WandbTracker(
        directory, project=project, identifier=identifier, name=directory.name, offline=offline, config=config
    )
