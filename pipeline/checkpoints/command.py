"""`python -m pipeline checkpoint verify|list|diff|consolidate`: for people. `verify` and `list` start without torch.

DIR is a run directory, its `checkpoints`, or one checkpoint in it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from data_shards.errors import UserError
from pipeline.checkpoints.manifest import FOLDER, MANIFEST, DamageError, Saved, amount, directories
from pipeline.checkpoints.verify import verify
from pipeline.errors import ArtifactError
from pipeline.runs import disk_error

USAGE = """usage: python -m pipeline checkpoint COMMAND DIR ...

  verify DIR [deep=true]       every file against its hash; with deep=true every tensor against the root as well
  list DIR                     step, samples, size, processes, figures; sizes are looked at, hashes are not
  diff DIR OTHER               the tensors and values that differ, with the largest absolute difference
  consolidate DIR FILE         the objective as one file, FILE.safetensors or FILE.pt

DIR is a run directory, its folder of checkpoints, or one checkpoint; of several, diff and consolidate take the newest
that verifies. Exit status: 0 all is well, 1 something is damaged or differs, 2 a mistake in the command."""


def main(words: Sequence[str]) -> int:
    """Run the command; gives the exit status. Raises `UserError`."""
    if not words or any(word in ("-h", "--help", "help") for word in words):
        print(USAGE)
        return 0
    name, *rest = words
    if name not in _COMMANDS:
        raise UserError(f"checkpoint {name}", "is no command", f"commands are {', '.join(_COMMANDS)}", _HELP)
    command, counts = _COMMANDS[name]
    if len(rest) not in counts:
        raise UserError(f"checkpoint {name}", f"was given {len(rest)} words", "see its usage", _HELP)
    return command(*rest)


def _verify(where: str, deep: str = "deep=false") -> int:
    if deep not in ("deep=true", "deep=false"):
        raise UserError("checkpoint verify", f"{deep} is no setting of it", "write deep=true", _HELP)
    damaged = 0
    for path in _checkpoints(where):
        faults = verify(path, deep=deep == "deep=true")
        damaged += bool(faults)
        if faults:
            print(f"{path.name} is damaged: {'; '.join(faults[:5])}{'; …' if len(faults) > 5 else ''}")
            continue
        saved = Saved.load(path)
        checked = "files and tensors" if deep == "deep=true" else "files"
        root = f", root {saved.root[:16]}" if saved.root else ""
        print(f"{path.name} is whole: {len(saved.files)} files, {amount(saved.bytes)}{root} ({checked} verified)")
    return 1 if damaged else 0


def _list(where: str) -> int:
    rows = [("checkpoint", "samples", "size", "processes", "written", "figures", "")]
    for path in _checkpoints(where):
        try:
            saved = Saved.load(path)
        except DamageError as error:
            rows.append((path.name, "", "", "", "", "", str(error)))
            continue
        wrong = [name for name, facts in saved.files.items() if _size(path / name) != facts["bytes"]]
        written = time.strftime("%Y-%m-%d %H:%M", time.localtime((path / MANIFEST).stat().st_mtime))
        figures = " ".join(f"{name}={saved.figures[name]:.4g}" for name in ("loss", "knn") if name in saved.figures)
        note = f"{wrong[0]} is missing or cut" if wrong else ""
        count = str(saved.processes or "")
        rows.append((path.name, f"{saved.consumed:,}", amount(saved.bytes), count, written, figures, note))
    print(_table(rows))
    return 0


def _diff(one: str, other: str) -> int:
    from pipeline.checkpoints.compare import compare

    first, second = _one(one), _one(other)
    rows = [("tensor", "elements that differ", "largest difference", "")]
    for found in compare(first.path, second.path):
        rows.append(
            (found.name, "", "", found.what)
            if found.what
            else (found.name, f"{found.elements:,}", f"{found.largest:.3g}", "")
        )
    if len(rows) == 1:
        print(f"{first.path} and {second.path} hold the same tensors and values")
        return 0
    print(_table(rows))
    return 1


def _consolidate(where: str, out: str) -> int:
    from pipeline.checkpoints.consolidate import consolidate

    saved, path = _one(where), Path(out)
    try:
        count = consolidate(saved, path)
    except OSError as error:
        raise disk_error(path, error) from error
    print(f"{path}: {count} tensors of {saved.path.name}, {amount(path.stat().st_size)}")
    return 0


def _checkpoints(where: str) -> list[Path]:
    """The checkpoints that a directory stands for, newest first."""
    path = Path(where)
    if (path / MANIFEST).is_file() or path.name.startswith("step-"):
        found = [path] if path.is_dir() else []
    else:
        found = directories(path / FOLDER) or directories(path)
    if not found:
        state = "holds no checkpoint" if path.is_dir() else "does not exist"
        raise ArtifactError(where, state, "name a run directory of pretrain or finetune, or one of its checkpoints")
    return found


def _one(where: str) -> Saved:
    """The checkpoint, or the newest of them, that verifies."""
    faults = []
    for path in _checkpoints(where):
        found = verify(path)
        if not found:
            return Saved.load(path)
        faults.append(f"{path.name} is damaged ({found[0]})")
        print(faults[-1], file=sys.stderr)
    raise ArtifactError(where, "holds no checkpoint that verifies", "look with `verify`", _HELP)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


_HELP = "python -m pipeline checkpoint --help"
_COMMANDS: dict[str, tuple[Callable[..., int], tuple[int, ...]]] = {
    "verify": (_verify, (1, 2)),
    "list": (_list, (1,)),
    "diff": (_diff, (2,)),
    "consolidate": (_consolidate, (2,)),
}
"""The function of each command, and how many words may follow it."""
