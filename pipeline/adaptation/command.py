"""`python -m pipeline adapt weights=… data=… out=…`: shard, fetch, guess, fine-tune, export, report.

Everything is a run of a stage in `out`, so the same command again goes on where it stopped, or does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_shards.errors import UserError
from data_shards.stream import ShardSet
from pipeline import config
from pipeline.adaptation import recipe
from pipeline.adaptation.ending import ending
from pipeline.adaptation.guess import guess
from pipeline.adaptation.known import Known, look
from pipeline.adaptation.measure import Steps
from pipeline.artifacts import FILE, Artifact
from pipeline.evaluation.labels import classes
from pipeline.objectives import Classification
from pipeline.stages import chain
from pipeline.stages.labelled import labelled
from pipeline.stages.stage import execute

HELP = """usage: python -m pipeline adapt weights=FILE data=DIR [out=DIR] [minutes=N] [finetune.KEY=VALUE ...]

A checkpoint and a folder of pictures into a classifier; `make finetune CKPT=FILE DATA=DIR OUT=DIR` is the same.

  weights  (text)                        released weights: a file, a URL, a hub name, seer_rg32; or a run directory here
  data     (text)                        a folder with train/CLASS and val/CLASS, or with one folder a class; or a list
  out      (text, default runs/adapt)    where everything goes
  minutes  (float, default 30)           about how long training may take

Size, batch and length are guessed and written to OUT/recipes/finetune.yaml, with the reasons. Settings such as
finetune.trainer.batch=64 stand above the guesses. The recipes are written once; a change in them counts from the next
training on, which needs an out=DIR of its own where one has begun."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the command is asked for."""

    weights: str
    """Released weights, or the run directory of `pretrain`, `fetch` or `finetune`."""
    data: str
    """Pictures with classes."""
    out: str = "runs/adapt"
    """Directory of all runs."""
    minutes: float = 30.0
    """About how long training may take."""

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise ValueError(f"minutes must be above 0, not {self.minutes:g}")


def command(words: Sequence[str]) -> int:
    """Run it all. Raises `UserError`."""
    if not words or any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0 if words else 2
    own = [word for word in words if "." not in word.partition("=")[0]]
    settings = config.load(Config, None, own)
    out = Path(settings.out)
    folder = out / recipe.FOLDER
    ours = settings.weights if (Path(settings.weights) / FILE).is_file() else None
    recipe.write_sources(folder, None if ours else settings.weights, settings.data)
    whole = str(recipe.write_chain(folder, out, ours))
    overrides = [word for word in words if word not in own]
    _, links = chain.load(whole, overrides)  # which finds every mistake in what is given
    first = {link.stage: link.config for link in links}
    done = {"shard": execute("shard", first["shard"])}
    train, labels = _pictures(done["shard"])
    if ours:
        checkpoint = Artifact.load(ours, "checkpoint", wanted_by="adapt", key="weights")
    else:
        checkpoint = done["fetch"] = execute("fetch", first["fetch"])
    if recipe.is_guessed(folder):
        print(f"adapt: by the settings of {folder / recipe.FINETUNE}", flush=True)
    else:
        _guess(folder, look(train, labels, checkpoint), settings.minutes)
    runs = dict(chain.run(*chain.load(whole, overrides), done))
    print(ending(runs["finetune"], runs["export"], out))
    return 0


def _pictures(shards: Artifact) -> tuple[ShardSet, NDArray[np.int64]]:
    """The pictures to learn from and the class of each; mistakes are said before weights are fetched."""
    train, test = (labelled(str(shards.path), split, "adapt") for split in ("train", "test"))
    if len(train.classes) < 2:
        raise UserError(
            str(shards.path), "has one class", "a classifier tells two apart at least: give a folder for each class"
        )
    labels = train.labels()
    classes.check(train.classes, labels, test.labels(), str(shards.path))
    return train, labels


def _guess(folder: Path, known: Known, minutes: float) -> None:
    steps = Steps(
        model=known.model, objective=Classification.Config(), classes=known.classes, optimizer=recipe.OPTIMIZER
    )
    made = guess(
        known,
        minutes,
        fits=lambda side, most: steps.batch_that_fits(side, known.memory, most),
        rate=steps.images_per_second,
    )
    recipe.write_training(folder, known, made)
    print(
        f"adapt: {made.side} px, batch {made.batch}, {made.epochs} epochs, {_about(made.minutes(known.train))}; "
        f"why, and how to change it, is in {folder / recipe.FINETUNE}",
        flush=True,
    )


def _about(minutes: float) -> str:
    return f"about {minutes:.0f} minutes" if minutes >= 1.5 else "a minute or less"
