"""The mistakes that the pipeline reports, beside those of `data_shards.errors`.

UserError             where, what was given, what would be right, the next command   (data_shards.errors)
├── ConfigError       a recipe or an override; holds every mistake found, one line each
├── ArtifactError     a stage's input is missing or of another kind
├── RunError          the run directory holds another run
├── TrainingError     training cannot go on: non-finite loss, a batch the processes cannot share
└── JobError          a job on a cluster cannot be submitted, started or gone on with
"""

from __future__ import annotations

from collections.abc import Sequence

from data_shards.errors import UserError

__all__ = ["ArtifactError", "ConfigError", "JobError", "RunError", "TrainingError", "UserError"]


class ConfigError(UserError):
    """Every mistake in a recipe and its overrides at once, one line each."""

    def __init__(self, mistakes: Sequence[str], command: str | None = None) -> None:
        self.mistakes = list(mistakes)
        super().__init__("configuration", f"{len(self.mistakes)} mistakes", "see the lines", command)

    def __str__(self) -> str:
        head = "one mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        lines = "\n".join(f"  {mistake}" for mistake in self.mistakes)
        cure = f"\nNext: {self.command}" if self.command else ""
        return f"{head} in the configuration:\n{lines}{cure}"


class ArtifactError(UserError):
    """A stage's input is missing or is another kind of artifact."""


class RunError(UserError):
    """The run directory holds another run."""


class TrainingError(UserError):
    """Training cannot go on."""


class JobError(UserError):
    """A job on a cluster cannot be submitted or started, or is not worth another start."""
