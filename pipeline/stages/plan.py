"""plan: what a recipe of `pretrain` will need, before it runs.

It reads a recipe and makes no artifact, so it stands in no chain; it needs neither shards nor a GPU.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from data_shards.errors import UserError
from data_shards.ordering.mixture import Mixture
from pipeline import config
from pipeline.errors import ConfigError
from pipeline.plan.assembled import Training
from pipeline.plan.concerns import concerns
from pipeline.plan.planned import plan
from pipeline.plan.tell import tell, to_mapping
from pipeline.stages import STAGES, pretrain
from pipeline.stages.stage import module
from pipeline.training.settings import TrainerConfig

_SCHEMA = "# yaml-language-server: $schema="


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a recipe."""

    world: int | None = None
    """Processes, where not those of the recipe."""
    memory: float | None = None
    """GiB of a device."""
    samples: int | None = None
    """Of the training set, where its shards are not here."""
    with_peak: bool = True
    """Whether a step is taken for its peak of memory."""


def command(words: Sequence[str]) -> int:
    """`python -m pipeline plan WORDS`: print the plan. Raises `UserError`."""
    asked = _parser().parse_intermixed_args(list(words))
    for name in ("world", "memory", "samples"):
        value = getattr(asked, name)
        if value is not None and not value > 0:
            raise UserError(f"--{name}", f"{value} is not above 0", f"write --{name} 64, for example")
    recipe = asked.words[0] if asked.words and "=" not in asked.words[0] else None
    settings = load(recipe, asked.words[1:] if recipe else asked.words)
    question = Question(world=asked.world, memory=asked.memory, samples=asked.samples, with_peak=not asked.state)
    text, figures = answer(settings, question)
    print(json.dumps(figures, indent=1) if asked.json else text)
    return 0


def load(recipe: str | None, overrides: Sequence[str]) -> pretrain.Config:
    """The recipe to plan. Raises `UserError` for one of another stage."""
    if recipe is None:
        example = "python -m pipeline plan configs/pretrain/seer/rg256.yaml"
        raise UserError("plan", "no recipe was given", "name one of pretrain", example)
    try:
        settings = config.load(pretrain.Config, recipe, overrides)
    except ConfigError:
        _refuse_another_stage(recipe, _stage_that_fits(recipe))
        raise
    _refuse_another_stage(recipe, _stage_it_names(recipe))
    return settings


def answer(settings: pretrain.Config, question: Question) -> tuple[str, dict[str, Any]]:
    """The plan in lines, and as plain values."""
    trainer = settings.trainer if question.world is None else with_world(settings.trainer, question.world)
    samples, data = _data(settings, trainer, question.samples)
    training = Training(
        build=lambda: settings.objective.build(settings.model.build()),
        crops=tuple((views, side) for side, views in settings.views.build().groups),
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        trainer=trainer,
        samples=samples,
        doubts=_doubts(settings),
    )
    made = plan(training, with_peak=question.with_peak)
    found = concerns(made, training, question.memory)
    return tell(made, data, found), to_mapping(made, data, found)


def with_world(trainer: TrainerConfig, world: int) -> TrainerConfig:
    """The same settings for `world` processes, on nodes as large as the recipe's. Raises `UserError`."""
    if world > trainer.devices and world % trainer.devices:
        near = max(1, round(world / trainer.devices)) * trainer.devices
        raise UserError(
            f"world {world}",
            f"is no whole number of nodes of {trainer.devices} processes",
            f"{near} is, or set trainer.devices",
        )
    if trainer.batch % world:
        near = max(1, round(trainer.batch / world)) * world
        raise UserError(
            f"world {world}",
            f"a batch of {trainer.batch} cannot be shared by so many processes",
            f"trainer.batch={near} can, or choose another world",
        )
    nodes = max(1, world // trainer.devices)
    try:
        return replace(trainer, nodes=nodes, devices=world // nodes)
    except ValueError as error:
        raise UserError(f"world {world}", str(error), "choose another world") from None


def _doubts(settings: pretrain.Config) -> tuple[str, ...]:
    try:
        return tuple(settings.objective.check(settings.trainer.batch))
    except ValueError as error:
        raise ConfigError([f"objective: {error}"]) from None


def _data(settings: pretrain.Config, trainer: TrainerConfig, samples: int | None) -> tuple[int | None, str]:
    """Samples of an epoch, and a line about the shards."""
    try:
        with pretrain.loader_for(replace(settings, trainer=trainer), 0, trainer.processes) as loader:
            shards = sum(len(shard_set.shards) for shard_set in loader.sets.sets)
            streams = loader.stream.streams if isinstance(loader.stream, Mixture) else (loader.stream,)
            lanes = sum(stream.lane_count for stream in streams)
            return loader.samples, f"{loader.samples:,} samples; shards: {shards:,}; lanes: {lanes}"
    except UserError as error:
        where = " and ".join(part.path for part in settings.parts)
        if samples is not None:
            return samples, f"{samples:,} samples, as given; no shards at {where} yet"
        return None, f"no shards to look at: {str(error).rstrip('.')}"


def _stage_it_names(recipe: str) -> str | None:
    """The stage whose schema a recipe's first line names for editors."""
    line = next(iter(Path(recipe).read_text(encoding="utf-8").splitlines()), "")
    return Path(line.removeprefix(_SCHEMA)).stem if line.startswith(_SCHEMA) else None


def _stage_that_fits(recipe: str) -> str | None:
    """The stage that a recipe can be loaded for."""
    named = _stage_it_names(recipe) if Path(recipe).is_file() else None
    if named:
        return named
    called = Path(recipe).stem.partition("-")[0]
    for stage in sorted(STAGES, key=lambda name: name != called):
        try:
            config.load(module(stage).Config, recipe)
        except ConfigError:
            continue
        return stage
    return None


def _refuse_another_stage(recipe: str, stage: str | None) -> None:
    if stage is not None and stage in STAGES and stage != "pretrain":
        raise UserError(
            recipe, f"is a recipe of {stage}", "plan takes one of pretrain", f"python -m pipeline {stage} --help"
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError("plan", message, "python -m pipeline plan --help lists what it takes")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m pipeline plan",
        description="What a pretraining will need: memory, disk, steps, arithmetic; and what looks wrong.",
    )
    parser.add_argument("words", nargs="*", metavar="RECIPE | key=value", help="a recipe of pretrain, and settings")
    parser.add_argument("--world", type=int, metavar="N", help="processes, where not those of the recipe")
    parser.add_argument("--memory", type=float, metavar="GIB", help="memory of a device, to say whether a step fits")
    parser.add_argument(
        "--samples", type=int, metavar="N", help="size of the training set, where its shards are not here"
    )
    parser.add_argument("--state", action="store_true", help="take no step: seconds for any size, but no peak")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON, in bytes")
    return parser
