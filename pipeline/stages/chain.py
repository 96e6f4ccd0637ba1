"""chain: stages one after the other in this process, each in its own directory below the chain's.

A recipe lists `run: recipe` lines. A run's name begins with its stage (`finetune`, `finetune-1pct`). Where a stage
reads an artifact and its recipe does not say from where, it gets that of the run before it that made one. Overrides
reach a stage by its run's name: `pretrain.trainer.batch=512`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import config as recipes
from pipeline.artifacts import MAKES, Artifact, write_atomically
from pipeline.errors import ConfigError
from pipeline.runs import CHAIN, CONFIG, REPORT, disk_error
from pipeline.stages import STAGES
from pipeline.stages.stage import execute, module

SUMMARY = "summary.json"
_PLACES = ("checkpoint", "weights")
"""Facts of an artifact that are paths below its run directory."""
_OWN = ("out", "data", "stages")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Recipe of `chain`."""

    out: str = "runs/chain"
    """Directory of the chain; each run gets a sub-directory by its name."""
    data: str | None = None
    """Images for the `shard` stage instead of its recipe's: a folder, `cifar10`, `imagenette`, or WebDataset tars."""
    stages: tuple[dict[str, Any], ...] = ()
    """Lines `run: recipe.yaml` or `run: {recipe: recipe.yaml, dotted.key: value}`, relative to this recipe."""


@dataclass(frozen=True)
class Link:
    """One run of a chain, with its config complete."""

    run: str
    stage: str
    config: Any


def load(recipe: str, overrides: Sequence[str]) -> tuple[Config, list[Link]]:
    """The chain's config and its runs. Raises `ConfigError` with the mistakes of all of them."""
    own = [text for text in overrides if text.partition("=")[0].partition(".")[0] in _OWN or "=" not in text]
    settings = recipes.load(Config, recipe, own)
    lines = [(run, value) for line in settings.stages for run, value in line.items()]
    names = [run for run, _ in lines]
    mistakes = [
        f"{recipe}: stages: {run}: begins with no stage; known: {', '.join(STAGES)}"
        for run in names
        if _stage(run) not in STAGES or _stage(run) == "chain"
    ]
    for text in (text for text in overrides if text not in own):
        first = text.partition("=")[0].partition(".")[0]
        if first not in names:
            near = difflib.get_close_matches(first, [*names, *_OWN], 1)
            known = f"did you mean {near[0]}?" if near else f"known: {', '.join([*_OWN[:2], *names])}"
            mistakes.append(f"command line: {first}: neither a key of the chain nor one of its runs; {known}")
    if mistakes:
        raise ConfigError(mistakes)
    links: list[Link] = []
    for run, value in lines:
        try:
            links.append(_link(Path(recipe).parent, settings, run, value, links, overrides))
        except ConfigError as error:
            mistakes += [f"{run}: {mistake}" for mistake in error.mistakes]
    if mistakes:
        raise ConfigError(mistakes)
    return settings, links


def run(
    settings: Config, links: Sequence[Link], done: Mapping[str, Artifact] | None = None
) -> list[tuple[str, Artifact]]:
    """Run them all and write `summary.json`; gives each run's artifact. What is `done`, by run, the caller has run."""
    note(settings, links)
    done = done or {}
    artifacts = [(link.run, done.get(link.run) or execute(link.stage, link.config)) for link in links]
    write_atomically(Path(settings.out) / SUMMARY, json.dumps(summarise(artifacts), indent=1))
    return artifacts


def note(settings: Config, links: Sequence[Link]) -> None:
    """Write `chain.yaml`, which runs the same chain again, into the chain's directory."""
    out = Path(settings.out)
    lines = [{link.run: f"{link.run}/{CONFIG}"} for link in links]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / CHAIN, recipes.dump({"out": settings.out, "stages": lines}))
    except OSError as error:
        raise disk_error(out, error) from error


def noted(out: Path) -> list[str]:
    """The names of a chain's runs, in their order, from its `chain.yaml`; none where that cannot be read."""
    try:
        lines = recipes.read(out / CHAIN).get("stages") or []
        return [str(run) for line in lines for run in line]
    except (ConfigError, TypeError):
        return []


def conclude(out: Path) -> list[tuple[str, Artifact]]:
    """Write `summary.json` of a chain whose runs were started one by one. Raises `ArtifactError` if one is undone."""
    artifacts = [(run, Artifact.load(out / run)) for run in noted(out)]
    write_atomically(out / SUMMARY, json.dumps(summarise(artifacts), indent=1))
    return artifacts


def needs(links: Sequence[Link]) -> dict[str, list[str]]:
    """For each run the earlier runs of the chain that it reads."""
    return {link.run: [earlier.run for earlier in links[:i] if _reads(link, earlier)] for i, link in enumerate(links)}


def _reads(link: Link, earlier: Link) -> bool:
    stage = module(link.stage)
    if hasattr(stage, "WHOLE_CHAIN"):
        return True
    return any(Path(wanted.path) == Path(earlier.config.out) for wanted in stage.inputs(link.config).values())


def summarise(artifacts: Sequence[tuple[str, Artifact]]) -> dict[str, float]:
    """The figures of every run; an accuracy, and one that an earlier run has too, is named after its run.

    `seconds` is the time of all the work.
    """
    summary: dict[str, float] = {}
    for name, artifact in artifacts:
        for key, value in artifact.figures.items():
            own = key.startswith("accuracy") or key in summary
            summary[f"{name.replace('-', '_')}_{key}" if own else key] = value
    summary["seconds"] = round(sum(artifact.seconds for _, artifact in artifacts), 1)
    return summary


def _stage(run: str) -> str:
    return run.partition("-")[0]


def _link(
    folder: Path, settings: Config, run: str, value: Any, before: Sequence[Link], overrides: Sequence[str]
) -> Link:
    stage = module(_stage(run))
    line = {"recipe": value} if isinstance(value, str) else dict(value or {})
    recipe = line.pop("recipe", None)
    given: dict[str, Any] = {"out": str(Path(settings.out) / run)}
    if whole := getattr(stage, "WHOLE_CHAIN", None):
        given[whole] = settings.out
    fixed = [f"{key}={json.dumps(setting)}" for key, setting in line.items()]
    if (source := getattr(stage, "CHAIN_DATA", None)) and settings.data is not None:
        fixed.append(f"{source}={json.dumps(settings.data)}")
    own = [text.removeprefix(f"{run}.") for text in overrides if text.startswith(f"{run}.")]
    path = None if recipe is None else folder / recipe
    config: Any = recipes.load(stage.Config, path, [*fixed, *own], given)
    wired = {
        key: place
        for key, place in _wires(stage, config, settings, before)
        if not _says(path, [*fixed, *own], key.partition(" ")[0])
    }
    config = recipes.load(stage.Config, path, [*fixed, *own], {**given, **wired})
    return Link(run, _stage(run), config)


def _wires(stage: Any, config: Any, settings: Config, before: Sequence[Link]) -> Iterator[tuple[str, str]]:
    """For each input the directory of the run before that makes it, the stage's first choice first."""
    if hasattr(stage, "WHOLE_CHAIN"):
        return
    for key, wanted in stage.inputs(config).items():
        makers = wanted.stages or (MAKES[wanted.kind],)
        found = [link for maker in makers for link in reversed(before) if link.stage == maker]
        if found:
            yield key, str(Path(settings.out) / found[0].run)


def _says(path: Path | None, overrides: Sequence[str], key: str) -> bool:
    return (path is not None and key in recipes.read(path)) or any(text.startswith(f"{key}=") for text in overrides)


def table(summary: Mapping[str, float]) -> str:
    """The figures for a terminal: what was learnt, beside what the untrained network gives."""
    rows = [("", "untrained", "pretrained")]
    for probe, label in (("knn", "kNN accuracy"), ("linear", "linear accuracy")):
        if f"{probe}_pretrained" in summary:
            rows.append((label, _percent(summary.get(f"{probe}_random")), _percent(summary[f"{probe}_pretrained"])))
    lines = [f"  {a:<28}{b:>12}{c:>12}" for a, b, c in rows] if len(rows) > 1 else []
    if "loss_first" in summary:
        known = f", where ln K = {summary['ln_k']:.2f} is a guess" if "ln_k" in summary else ""
        lines.append(f"  loss                        {summary['loss_first']:.2f} → {summary['loss_last']:.2f}{known}")
    for key, value in summary.items():
        if headline := _headline(key):
            lines.append(f"  {headline:<40}{_percent(value):>12}")
    lines.append(f"  {'seconds of work':<40}{summary['seconds']:>12.0f}")
    return "\n".join(lines)


def _headline(key: str) -> str | None:
    """What a terminal calls a figure that sums up its run; None for the others."""
    if found := re.fullmatch(r"(.+_accuracy)(?:_(\d+)_shots)?", key):
        return found[1].replace("_", " ") + (f", {found[2]} labels a class" if found[2] else "")
    if found := re.fullmatch(r"(.*_)?(knn|map)", key):
        name = "kNN accuracy" if found[2] == "knn" else "mean average precision"
        return f"{name} ({found[1][:-1].replace('_', '-')})" if found[1] else name
    return None


def places(settings: Config, artifacts: Sequence[tuple[str, Artifact]]) -> str:
    """Where the results lie, for a terminal."""
    found = {
        **{
            run: artifact.path / str(artifact.facts[key])
            for run, artifact in artifacts
            for key in _PLACES
            if key in artifact.facts
        },
        **{run: artifact.path / REPORT for run, artifact in artifacts if artifact.kind == "report"},
        "figures": Path(settings.out) / SUMMARY,
    }
    return "\n".join(f"  {name:<24}{path}" for name, path in found.items())


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
