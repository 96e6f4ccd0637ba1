"""Every mistake a user can make, as one sentence: where, what was given, what would be right, the next command.

    UserError
    ├── SourceError       input that is missing, empty or unreadable
    ├── OutputError       output directory that is in the way, read-only or full
    ├── ShardError        shard that is missing, damaged or of another version
    ├── SampleRateError   more bad samples than the configured share
    └── StallError        samples that are neither read nor decoded within the time that was set
    ImageError            one image that cannot be used; the pipeline goes on without it

A command line catches `UserError`, prints it and exits with 2. Anything else is a defect
of ours and keeps its traceback.
"""

from __future__ import annotations

from pathlib import Path


class UserError(Exception):
    """A mistake with its cure.

    `where` names the file, folder, option or key; `given` says what was found there; `right` says what would be right;
    `command` is the next thing to type, where one exists.
    """

    def __init__(self, where: str, given: str, right: str, command: str | None = None) -> None:
        self.where, self.given, self.right, self.command = str(where), given, right, command
        super().__init__(where, given, right, command)

    def __str__(self) -> str:
        sentence = f"{self.where}: {self.given}; {self.right}"
        return f"{sentence}. Next: {self.command}" if self.command else f"{sentence}."


class SourceError(UserError):
    """The input is missing, empty or unreadable."""


class OutputError(UserError):
    """The output directory is in the way, read-only or full."""


class ShardError(UserError):
    """A shard or its manifest is missing, damaged or of another version."""

    @classmethod
    def missing(cls, shard: Path, others: int = 0) -> ShardError:
        """The error for a shard that the manifest names and the directory does not hold."""
        more = f" and {others} more" if others else ""
        return cls(str(shard), f"is missing{more}", "bring it back, or pack the shards again")


class SampleRateError(UserError):
    """More samples were bad than the recipe allows."""


class StallError(UserError):
    """The loader waits for samples that do not come."""


class ImageError(ValueError):
    """One image that cannot be used.

    `reason` is a short slug (`truncated`, `not_an_image`, `too_many_pixels`) that is counted.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}" if detail else reason)
