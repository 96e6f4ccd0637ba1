"""`python -m data_shards COMMAND DIR`: look at a shard set where it lies, and mend it. Needs no torch.

inspect     what it holds, in the terminal or as a page
verify      whether it still is what was packed; names every damaged shard
repair      makes what is damaged anew, from what is whole and from the source
quarantine  which images were rejected, and why; takes out samples that runs could not decode
finish      ends a packing that several machines did
replay      which samples a global batch of a run holds
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from data_shards import quarantined
from data_shards.errors import UserError
from data_shards.inspect.text import describe
from data_shards.progress import Progress
from data_shards.repair.apply import Applied, apply
from data_shards.repair.repair import Repaired, repair
from data_shards.replay import SETTINGS, replay_words
from data_shards.verify import verify


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit code: 0, 1 for damage that is left, 2 for a mistake of the caller."""
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = parsed.run in (_verify, _repair, _quarantine)
        print("interrupted" + ("; the same command goes on where it stopped" if again else ""), file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _inspect(parsed: argparse.Namespace) -> int:
    if parsed.html is not None:
        from data_shards.inspect.document import write_page

        write_page(parsed.directory, parsed.html)
        print(parsed.html)
        return 0
    print(describe(parsed.directory))
    return 0


def _verify(parsed: argparse.Namespace) -> int:
    with Progress(label="verify") as progress:
        damages = verify(parsed.directory, parsed.decode, progress)
    for damage in damages:
        print(f"{damage.shard}: {damage.reason}")
    if not damages:
        print("every shard is whole")
        return 0
    files = len({damage.shard for damage in damages})
    print(f"{files} damaged. Next: python -m data_shards repair {parsed.directory}")
    return 1


def _repair(parsed: argparse.Namespace) -> int:
    done = repair(parsed.directory, parsed.drop, quiet=False)
    for line in _told(done, parsed.directory):
        print(line)
    return 0 if done.whole else 1


def _told(done: Repaired, directory: Path) -> list[str]:
    """What a repair did and what is left to do, in lines."""
    lines = [f"{name}: written again" for name in done.indexed]
    for name, count in done.rebuilt.items():
        lines.append(f"{name}: rebuilt, {f'{count} samples from the source' if count else 'from itself'}")
    gone = "dropped" if done.dropped else "cannot be had"
    for lost in done.lost:
        sample = lost.key or (f"sample {lost.number}" if lost.number is not None else "a sample")
        source = f" ({quarantined.printable(lost.source)})" if lost.source else ""
        lines.append(f"{lost.shard}: {sample}{source} {gone}: {quarantined.printable(lost.why)}")
    for name in done.changed:
        lines.append(f"{name}: no sample is lost, but the bytes that were packed cannot be had")
    lines += [f"{damage.shard}: {damage.reason}; this cannot be repaired" for damage in done.left]
    if done.whole:
        return [*lines, "every shard is whole"]
    if (done.lost or done.changed) and not done.dropped:
        lines.append(f"To go on without: python -m data_shards repair {directory} --drop")
    return lines


def _quarantine(parsed: argparse.Namespace) -> int:
    action, words = parsed.words[0], parsed.words[1:]
    if action not in ("show", "export", "apply") or not words:
        action, words = "show", parsed.words
    if parsed.export is not None:
        action, words = "export", [*words, parsed.export]
    if not {"show": len(words) == 1, "export": len(words) == 2, "apply": len(words) > 1}[action]:
        right = "quarantine [show] DIR, quarantine export DIR FOLDER, or quarantine apply DIR LEDGER... --out DIR"
        raise UserError("quarantine", f"{len(parsed.words)} words are given", f"write {right}")
    if (action == "apply") != ((parsed.out is None) == parsed.in_place):
        right = "give apply either --out DIR, for a new set, or --in-place; nothing else takes them"
        raise UserError("quarantine", "it must be clear what is to be written", right)
    directory = Path(words[0])
    if action == "export":
        written, without = quarantined.export(directory, Path(words[1]), parsed.reason)
        print(f"{written:,} originals written to {words[1]}" + (f", {without:,} have no bytes" if without else ""))
        return 0
    if action == "apply":
        print(_applied(apply(directory, [Path(word) for word in words[1:]], parsed.out, quiet=False)))
        return 0
    for line in quarantined.show(directory, parsed.reason, parsed.limit):
        print(line)
    return 0


def _applied(done: Applied) -> str:
    """What taking samples out has come to, in a sentence."""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in done.reasons.most_common())
    parts = [f"{done.reasons.total():,} samples taken out of {len(done.shards):,} shards ({reasons})"] * bool(reasons)
    parts += [f"{done.already:,} were out before"] * bool(done.already)
    parts += [f"{done.others:,} lines speak of other sets"] * bool(done.others)
    return f"{done.directory}: {'; '.join(parts) or 'nothing to take out'}; root {done.root}"


def _finish(parsed: argparse.Namespace) -> int:
    from data_shards.packing.finish import finish

    finish(parsed.directory)
    return 0


def _replay(parsed: argparse.Namespace) -> int:
    for line in replay_words(parsed.words):
        print(line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_shards", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if name not in ("quarantine", "replay"):
            added.add_argument("directory", type=Path, metavar="DIR", help="directory with a manifest.json")
        return added

    inspect = command("inspect", _inspect, "what a shard set holds")
    inspect.add_argument("--html", type=Path, metavar="FILE", help="write a page with figures and pictures instead")
    verify = command("verify", _verify, "whether it still is what was packed; an interrupted pass is gone on with")
    verify.add_argument("--decode", action="store_true", help="also decode every image")
    repair = command("repair", _repair, "make what is damaged anew, from what is whole and from the source")
    repair.add_argument("--drop", action="store_true", help="go on without the samples that cannot be had")
    quarantine = command("quarantine", _quarantine, "which images were rejected and why; or take out what a run met")
    quarantine.usage = f"{quarantine.prog} [show] DIR [--reason REASON] [--limit N]\n{'':7}"
    quarantine.usage += f"{quarantine.prog} export DIR FOLDER [--reason REASON]\n{'':7}"
    quarantine.usage += f"{quarantine.prog} apply DIR LEDGER... (--out DIR | --in-place)"
    quarantine.add_argument("words", nargs="+", metavar="DIR", help="directory with a manifest.json")
    quarantine.add_argument("--reason", metavar="REASON", help="only those rejected for this reason")
    quarantine.add_argument("--limit", type=int, default=20, metavar="N", help="entries shown (20)")
    quarantine.add_argument("--export", metavar="FOLDER", help="the same as quarantine export DIR FOLDER")
    quarantine.add_argument("--out", type=Path, metavar="DIR", help="where apply writes the set without the samples")
    quarantine.add_argument("--in-place", action="store_true", help="apply changes the set itself")
    command("finish", _finish, "end a packing that several machines did: write its manifest")
    settings = " ".join(f"{key}={'' if value is None else value}" for key, value in SETTINGS.items())
    samples = command("replay", _replay, "which samples a global batch of a run holds, one line of JSON each")
    samples.add_argument("words", nargs="+", metavar="DIR|key=value", help=f"shard sets, and {settings}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
