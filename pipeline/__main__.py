"""`python -m pipeline STAGE CONFIG.yaml [key=value ...]`: the one way to run anything.

Exit status: 0 done, 2 a mistake of the user's (one clear sentence, no traceback), 75 told to stop and all is saved (by
SIGUSR2 or SIGTERM; `preemption.py`), 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from data_shards.errors import UserError
from pipeline import preemption
from pipeline.distributed import PREEMPTED, is_first
from pipeline.preemption import Preempted
from pipeline.stages import STAGES

_REHEARSE = """usage: python -m pipeline rehearse [CONFIG.yaml] [key=value ...]

Runs the loader of a pretrain recipe alone, as one process of the job would, and says what limits it.

settings, beside those of pretrain:
  seconds  (float, default 20)    at most so long, after a few batches to warm up
  batches  (int, default 300)     at most so many
  rate     (float)                images per second that the trainer takes, over all processes; without it, all it can
  json     (text)                 a file for the figures"""
USAGE = "python -m pipeline STAGE [CONFIG.yaml] [key=value ...]"
_DEFERRED = {"pretrain": True, "finetune": True, "linear": True, "chain": False, "adapt": False}
"""What heeds signals that tell it to stop, and whether that waits for a step's end from the start on."""


def main(arguments: Sequence[str]) -> int:
    """Run a command line; gives the exit status."""
    try:
        return _run(list(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Preempted as reason:
        if is_first() and str(reason):
            print(f"preempted: {reason}; the same command goes on from there", file=sys.stderr, flush=True)
        return PREEMPTED
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    name, *rest = arguments
    if name in _COMMANDS:
        return _COMMANDS[name].run(rest)
    if name not in STAGES:
        near = difflib.get_close_matches(name, [*STAGES, *_COMMANDS], 1)
        meant = f"did you mean {near[0]}?" if near else f"stages are {', '.join(STAGES)}"
        raise UserError(name, "is no stage", meant, "python -m pipeline --help")
    if any(option in ("-h", "--help") for option in rest):
        print(_stage_help(name))
        return 0
    recipe, overrides = _words(name, rest)
    if name == "chain":
        return _chain(recipe, overrides)
    from pipeline import config
    from pipeline.stages.stage import execute, module

    execute(name, config.load(module(name).Config, recipe, overrides))
    return 0


def _words(name: str, words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The recipe and the overrides in the words after a stage."""
    options = [option for option in words if option.startswith("-")]
    if options:
        raise UserError(
            options[0], "is no option", "settings are given as key=value", f"python -m pipeline {name} --help"
        )
    recipe = words[0] if words and "=" not in words[0] else None
    return recipe, list(words[1:] if recipe else words)


def _plan(words: Sequence[str]) -> int:
    """What a pretraining recipe will need."""
    from pipeline.stages import plan

    return plan.command(words)


def _rehearse(words: Sequence[str]) -> int:
    """The loader of a pretraining recipe alone, and what limits it."""
    if any(option in ("-h", "--help") for option in words):
        print(_REHEARSE)
        return 0
    from pipeline import config
    from pipeline.rehearsal.measure import rehearse
    from pipeline.rehearsal.tell import tell, to_mapping
    from pipeline.stages.pretrain import Config

    recipe, overrides = _words("rehearse", words)
    own = {"seconds": "20", "batches": "300", "rate": None, "json": None}
    for word in list(overrides):
        name, _, value = word.partition("=")
        if name in own:
            own[name] = value
            overrides.remove(word)
    seconds, batches, rate = (_above_zero(name, own[name]) for name in ("seconds", "batches", "rate"))
    settings = config.load(Config, recipe, overrides)
    shown = rehearse(settings, seconds=seconds or 0, batches=int(batches or 0), rate=rate)
    print(tell(shown))
    if own["json"] is not None:
        Path(own["json"]).write_text(json.dumps(to_mapping(shown), indent=1) + "\n", encoding="utf-8")
    return 0


def _adapt(words: Sequence[str]) -> int:
    """Released weights and a folder of pictures into a classifier."""
    from pipeline.adaptation.command import command

    return command(words)


def _checkpoint(words: Sequence[str]) -> int:
    from pipeline.checkpoints.command import main as command

    return command(words)


def _status(words: Sequence[str]) -> int:
    """How far a run, a chain or a folder of runs is."""
    if len(words) != 1 or words[0].startswith("-"):
        print("usage: python -m pipeline status DIR\n\nDIR is a run directory, or a folder of runs such as a chain's.")
        return 0 if words and words[0] in ("-h", "--help") else 2
    from pipeline.jobs.status import follow, tell

    directory = Path(words[0])
    print(tell(directory, follow(directory)))
    return 0


def _above_zero(name: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise UserError(name, f"{text!r} is no number above 0", f"write {name}=20, for example")
    return number


def _chain(recipe: str | None, overrides: Sequence[str]) -> int:
    from pipeline.stages import chain

    if recipe is None:
        raise UserError("chain", "no recipe was given", "name one", "python -m pipeline chain configs/chain/demo.yaml")
    settings, links = chain.load(recipe, overrides)
    artifacts = chain.run(settings, links)
    print(f"\n{chain.table(chain.summarise(artifacts))}\n\n{chain.places(settings, artifacts)}\n")
    print("Next: open the report in a browser; `python -m pipeline STAGE --help` lists what a recipe can set.")
    return 0


def _help() -> str:
    width = max(map(len, [*STAGES, *_COMMANDS])) + 2
    lines = [f"usage: {USAGE}", "", "stages:"]
    lines += [f"  {name:<{width}}{summary}" for name, summary in STAGES.items()]
    lines += [
        "",
        "also:",
        *(f"  {name:<{width}}{command.summary}" for name, command in _COMMANDS.items()),
        "",
        "A recipe is a YAML file in configs/; key=value changes one setting, for example trainer.batch=512.",
        "The same command again resumes, or does nothing when its artifact already matches.",
        "`python -m pipeline STAGE --help` lists every setting of a stage.",
    ]
    return "\n".join(lines)


def _stage_help(name: str) -> str:
    from pipeline import config
    from pipeline.stages.stage import module

    lines = [f"usage: python -m pipeline {name} [CONFIG.yaml] [key=value ...]", "", f"{STAGES[name]}", "", "settings:"]
    variant = ""
    for field in config.describe(module(name).Config):
        if field.variant != variant and field.key.endswith(".name"):
            lines.append(f"  with {field.key.removesuffix('.name')}.name={field.variant}:")
        variant = field.variant
        if variant and field.key.endswith(".name"):
            continue
        kind = f"{field.type}" + (f", default {field.default}" if field.default else "")
        lines.append(f"  {field.key}  ({kind})")
        if field.help:
            lines.append(f"      {field.help}")
    return "\n".join(lines)


def _write_schemas(words: Sequence[str]) -> int:
    """JSON Schema of every stage's recipe, for editors that complete YAML."""
    folder = Path(words[0] if words else "configs/schema")
    from pipeline import config
    from pipeline.stages.stage import module

    folder.mkdir(parents=True, exist_ok=True)
    for name in STAGES:
        text = json.dumps(config.schema(module(name).Config), indent=1)
        (folder / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")
        print(folder / f"{name}.json")
    return 0


class _Command(NamedTuple):
    """What is no stage: it leaves no artifact."""

    run: Callable[[Sequence[str]], int]
    summary: str


_COMMANDS = {
    "adapt": _Command(_adapt, "released weights and a folder of pictures into a classifier, with nothing to decide"),
    "plan": _Command(_plan, "what a pretrain recipe will need, before it runs: memory, disk, steps, arithmetic"),
    "rehearse": _Command(_rehearse, "the loader of a pretrain recipe alone: images/s, and what limits it"),
    "checkpoint": _Command(_checkpoint, "verify, list, compare or consolidate the checkpoints of a run"),
    "status": _Command(_status, "how far a run or a chain is: jobs, steps, images/s, time left, checkpoints, requeues"),
    "schema": _Command(_write_schemas, "JSON Schema of every recipe, for editors"),
}


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in _DEFERRED:
        preemption.heed(deferred=_DEFERRED[sys.argv[1]])
    sys.exit(main(sys.argv[1:]))
