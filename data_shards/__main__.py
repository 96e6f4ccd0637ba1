"""`python -m data_shards COMMAND DIR`: look at a shard set where it lies. Needs no torch.

inspect   what it holds
verify    whether it still is what was packed; names every damaged shard
replay    which samples a global batch of a run holds
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data_shards.errors import UserError
from data_shards.inspect import describe
from data_shards.progress import Progress
from data_shards.replay import replay
from data_shards.stream import ShardSet
from data_shards.verify import verify

_REPLAY = {"seed": 0, "epoch": None, "step": 0, "world": 1, "batch": None, "lanes": 128, "split": "train"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code: 0, 1 for damaged shards, 2 for a mistake of the caller."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _inspect(parsed: argparse.Namespace) -> int:
    print(describe(parsed.directory))
    return 0


def _verify(parsed: argparse.Namespace) -> int:
    with Progress(label="verify") as progress:
        damages = verify(parsed.directory, parsed.decode, progress)
    for damage in damages:
        print(f"{damage.shard}: {damage.reason}")
    if not damages:
        print("every shard is whole")
    return 1 if damages else 0


def _replay(parsed: argparse.Namespace) -> int:
    given = {**_REPLAY, **_settings(parsed.settings)}
    split = str(given.pop("split"))
    numbers = {name: None if value is None else _integer(name, value) for name, value in given.items()}
    if numbers["batch"] is None:
        raise UserError("batch", "not given", "give the global batch size of the run, such as batch=256")
    for line in replay(ShardSet(parsed.directory, split), **numbers):  # type: ignore[arg-type]
        print(line)
    return 0


def _settings(words: Sequence[str]) -> dict[str, str]:
    settings = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in _REPLAY:
            raise UserError(word, "is no setting of replay", f"settings are {' '.join(f'{name}=' for name in _REPLAY)}")
        settings[name] = value
    return settings


def _integer(name: str, value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        raise UserError(name, f"{value!r} is no number", f"give a whole number, such as {name}=1") from None
    if number < (1 if name in ("world", "batch", "lanes") else 0):
        raise UserError(
            name, f"{number} is too small", f"give at least {1 if name in ('world', 'batch', 'lanes') else 0}"
        )
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_shards", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, run, text in (
        ("inspect", _inspect, "what a shard set holds"),
        ("verify", _verify, "whether it still is what was packed"),
        ("replay", _replay, "which samples a global batch of a run holds, one line of JSON each"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("directory", type=Path, metavar="DIR", help="directory with a manifest.json")
        command.set_defaults(run=run)
        if name == "verify":
            command.add_argument("--decode", action="store_true", help="also decode every image")
        if name == "replay":
            settings = " ".join(f"{key}={'' if value is None else value}" for key, value in _REPLAY.items())
            command.add_argument("settings", nargs="*", metavar="key=value", help=settings)
    return parser


if __name__ == "__main__":
    sys.exit(main())
