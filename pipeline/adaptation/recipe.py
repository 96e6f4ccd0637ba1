"""The settings as recipes in a folder of their own: what was guessed can be read, changed and run again.

    recipes/shard.yaml  fetch.yaml  finetune.yaml  export.yaml  chain.yaml

`finetune.yaml` has the guesses with their reasons. It is written once; a reader's changes stay.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from data_shards.errors import UserError
from pipeline import config
from pipeline.adaptation.guess import Guess
from pipeline.adaptation.known import Known
from pipeline.artifacts import write_atomically
from pipeline.training.optimizers import AdamW

FOLDER = "recipes"
SHARD, FETCH, FINETUNE, EXPORT, CHAIN = (f"{name}.yaml" for name in ("shard", "fetch", "finetune", "export", "chain"))
NOT_YET = "# What is not guessed yet.\n"
HOLDOUT = 0.2
"""Share of the pictures kept for testing, where the folder has no `val` or `test`."""
OPTIMIZER = AdamW.Config()
"""Its state is what a step's memory is counted with."""


def write_sources(folder: Path, weights: str | None, data: str) -> None:
    """`shard.yaml`, `fetch.yaml` where the weights are not those of a run here, and an empty `finetune.yaml`.

    Raises `UserError` where the folder has recipes for other pictures or weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shard = f"# Every picture is looked at; broken ones are put aside.\nsource: {_text(data)}\nholdout: {HOLDOUT}\n"
    _once(folder / SHARD, shard, "source", data)
    if weights is not None:
        _once(folder / FETCH, f"# The released weights.\nweights: {_text(weights)}\n", "weights", weights)
    if not (folder / FINETUNE).exists():
        write_atomically(folder / FINETUNE, NOT_YET)


def is_guessed(folder: Path) -> bool:
    """Whether `finetune.yaml` has settings."""
    return (folder / FINETUNE).read_text(encoding="utf-8") != NOT_YET


def _once(path: Path, text: str, key: str, value: str) -> None:
    if not path.exists():
        write_atomically(path, text)
    elif (known := config.read(path).get(key)) != value:
        raise UserError(str(path), f"is for {key} {known}, not {value}", "choose another out=DIR, or remove that file")


def write_training(folder: Path, known: Known, guess: Guess) -> None:
    """`finetune.yaml`: the guesses, each with its reason."""
    why = {**dict.fromkeys(asdict(guess), ""), **guess.why}
    text = f"""\
# Fine-tuning on {known.train:,} pictures of {known.classes} classes; expected to take \
{guess.minutes(known.train):.0f} minutes at {guess.rate:,.0f} pictures/s.
# What follows was guessed. Change it, and run: python -m pipeline chain {folder / CHAIN}
views:
  size: {guess.side}  # {why["side"]}
  scale: [0.25, 1.0]
  interpolation: {known.view.interpolation}
view:
  size: {guess.side}
  resize: {guess.resize}
  interpolation: {known.view.interpolation}
  keep_ratio: {_text(known.view.keep_ratio)}
objective:
  label_smoothing: 0.1
  freeze_backbone: {_text(guess.frozen)}{_comment(why["frozen"])}
optimizer:
  name: {OPTIMIZER.name}
  rate: 2e-3  # for each 256 pictures of a batch
  weight_decay: {OPTIMIZER.weight_decay}
  layers: {{decay: 0.6, unit: stage, head: 5.0}}  # lower layers move less, the new classifier more
schedule: {{warmup: 10%, end: 0.0}}
trainer:
  duration: {guess.epochs} epochs  # {why["epochs"]}
  batch: {guess.batch}  # {why["batch"]}
  devices: {known.devices}
  threads: {min(16, max(1, known.cores // known.devices))}
"""
    write_atomically(folder / FINETUNE, text)


def write_chain(folder: Path, out: Path, checkpoint: str | None) -> Path:
    """`chain.yaml`, which runs it all; with a `checkpoint` of a run here there is nothing to fetch."""
    finetune = f"{{recipe: {FINETUNE}, checkpoint: {_text(checkpoint)}}}" if checkpoint else FINETUNE
    fetch = [] if checkpoint else [f"  - fetch: {FETCH}"]
    lines = [f"  - shard: {SHARD}", *fetch, f"  - finetune: {finetune}", "  - export: null", "  - report: null"]
    write_atomically(folder / CHAIN, "\n".join([f"out: {_text(str(out))}", "stages:", *lines, ""]))
    return folder / CHAIN


def _text(value: object) -> str:
    """A value as YAML has it."""
    return json.dumps(value)


def _comment(reason: str) -> str:
    return f"  # {reason}" if reason else ""
