"""Which checkpoints stay: the last ones, every K-th step's, the best by a figure. Others go once a newer one is safe.

At most `last + best + 1` lie on the disk at any moment, beside those that `every` keeps for good.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_shards.durable import move_durably
from pipeline.checkpoints.manifest import PREFIX, REMOVING, SAVING, DamageError, Saved, directories


@dataclass(frozen=True, kw_only=True)
class Retention:
    """What is kept of the checkpoints of a run."""

    last: int = 2
    """The newest so many."""
    every: int = 0
    """Those after a multiple of so many steps, for good; 0 for none."""
    best: int = 0
    """So many with the best `figure`; 0 for none. A checkpoint without the figure is none of them."""
    figure: str = "knn"
    """A figure of metrics.jsonl."""
    order: Literal["highest", "lowest"] = "highest"
    """Which values of the figure are best."""

    def __post_init__(self) -> None:
        if self.last < 1:
            raise ValueError(f"last is {self.last}, but the newest checkpoint is always kept; give at least 1")
        if self.every < 0 or self.best < 0:
            raise ValueError("every and best are numbers from 0, for none")

    def kept(self, found: Sequence[Saved]) -> set[Path]:
        """The paths of those that stay."""
        newest = sorted(found, key=lambda saved: saved.step, reverse=True)
        rated = [saved for saved in newest if self.figure in saved.figures]
        sign = 1 if self.order == "highest" else -1
        rated.sort(key=lambda saved: sign * saved.figures[self.figure], reverse=True)  # of equals the newest
        chosen = [*newest[: self.last], *rated[: self.best]]
        chosen += (saved for saved in newest if self.every and saved.step % self.every == 0)
        return {saved.path for saved in chosen}


def remove(path: Path) -> None:
    """Take a checkpoint away. It loses its name first: a kill leaves no checkpoint with files missing."""
    aside = path.with_name(f".{path.name}{REMOVING}")
    shutil.rmtree(aside, ignore_errors=True)
    move_durably(path, aside)
    shutil.rmtree(aside, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Remove what killed saves and removals left behind. Only for the one process that writes here."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.startswith(f".{PREFIX}") and path.suffix in (SAVING, REMOVING):
                shutil.rmtree(path, ignore_errors=True)


def retain(folder: Path, newest: int, retention: Retention) -> None:
    """Remove what need not stay beside the checkpoint of step `newest`, which has just been written.

    What has a later step, or a manifest that does not hold, is what a restore passed over: it goes too.
    """
    found: list[Saved] = []
    passed_over: list[Path] = []
    for path in directories(folder):
        saved = _loaded(path)
        if saved is None or saved.step > newest:
            passed_over.append(path)
        else:
            found.append(saved)
    kept = retention.kept(found)
    for path in [*passed_over, *(saved.path for saved in found if saved.path not in kept)]:
        remove(path)


def make_room(folder: Path, needed: int, retention: Retention) -> int:
    """Bytes free for the next checkpoint of `needed` bytes.

    Where they are too few, checkpoints that go after the next save in any case go now; the newest never does.
    """
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return free
    found = [saved for path in directories(folder) if (saved := _loaded(path))]
    if len(found) > 1:
        coming = Saved(folder / PREFIX, found[0].step + 1, 0)
        kept = retention.kept([coming, *found]) | {found[0].path}
        for saved in found:
            if saved.path not in kept:
                remove(saved.path)
    return shutil.disk_usage(folder).free


def _loaded(path: Path) -> Saved | None:
    try:
        return Saved.load(path)
    except DamageError:
        return None
