"""A line of overrides for each task of an array: many runs of one recipe from one submission."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import JobError
from pipeline.jobs.target import Target


def chosen(stage: str, config: str, lines: Path, words: Sequence[str], task: int | None = None) -> Target:
    """What the array's task is to run: the recipe, then `words`, then the task's line, counted from 1.

    Empty lines and those that begin with # do not count. A line that names no `out` gets the recipe's with its number.
    Raises `JobError` where there is no such line.
    """
    if task is None:
        task = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    own = read(lines)
    if not 1 <= task <= len(own):
        raise JobError(
            str(lines),
            f"has {len(own)} lines of overrides, but this is task {task}",
            f"submit one task for each line with --array=1-{len(own)}",
        )
    target = Target.of(stage, [config, *words, *own[task - 1]])
    if any(word.startswith("out=") for word in own[task - 1]):
        return target
    return target.moved(target.out.with_name(f"{target.out.name}-{task:03d}"))


def read(lines: Path) -> list[list[str]]:
    """The overrides of each line that has some, split as a shell would. Raises `JobError`."""
    try:
        texts = lines.read_text(encoding="utf-8").splitlines()
        return [words for text in texts if (words := shlex.split(text, comments=True))]
    except (OSError, ValueError) as error:
        raise JobError(
            str(lines), f"cannot be read ({error})", "write a line of key=value overrides for each run"
        ) from None
