"""The journal of a packing that is under way: how far it came, so that a killed one ends with the same bytes.

Everything that packing writes only grows, and depends on nothing but the entries before. So a state is a number of
entries and the lengths of the open files; to go back to it, each file is cut to its length. The work folder holds:

    identity.json   the source and the settings: a packing is only continued by the same ones
    journal.jsonl   a line for each state; the last whole one counts
    …               the open files
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data_shards.durable import AppendFile, sync_directory, write_durably
from data_shards.errors import OutputError
from data_shards.manifest import Shard

FOLDER = ".packing"
_IDENTITY, _LINES = "identity.json", "journal.jsonl"


@dataclass
class State:
    """How far a packing came: what became of the entries, finished shards, and lengths of open files.

    `totals["listed"]` entries were dealt with.
    """

    totals: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    shards: list[Shard] = field(default_factory=list)


class Journal:
    """The work folder of a packing. `Journal.open` makes it or takes it up, and holds it against other processes."""

    def __init__(self, work: Path, state: State, lines: AppendFile) -> None:
        self.work, self.state, self._lines = work, state, lines
        self._written = len(state.shards)

    @classmethod
    @contextlib.contextmanager
    def open(cls, out: Path, identity: dict[str, Any]) -> Iterator[Journal]:
        """The journal of this packing. Raises `OutputError` where another packing is under way in `out`."""
        work = out / FOLDER
        work.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(work, os.O_RDONLY)
        lines = None
        try:
            _hold(descriptor, out)
            path = work / _IDENTITY
            if path.exists():
                changes = differences(json.loads(path.read_bytes()), identity)
                if changes:
                    raise OutputError(
                        str(out),
                        f"holds an unfinished packing, but {changes[0]}",
                        "repeat the command it was begun with, or remove the folder and begin anew",
                        f"rm -r {work}",
                    )
            else:
                for stale in work.iterdir():
                    stale.unlink()
                write_durably(path, json.dumps(identity).encode())
                sync_directory(out)
            state, length = _last_state(work / _LINES)
            lines = AppendFile(work / _LINES, length)
            yield cls(work, state, lines)
        finally:
            if lines is not None:
                lines.close()
            os.close(descriptor)

    def commit(self, state: State) -> None:
        """Make `state` the one to go back to. The files it gives lengths of are already on the disk."""
        line = {**asdict(state), "shards": [asdict(shard) for shard in state.shards[self._written :]]}
        self._lines.append(json.dumps(line).encode() + b"\n")
        self._lines.sync()
        self._written = len(state.shards)

    def remove(self) -> None:
        """Remove the work folder: the packing is finished, or given up."""
        shutil.rmtree(self.work)


def differences(before: dict[str, Any], now: dict[str, Any], within: str = "") -> list[str]:
    """What changed between two nested mappings, as half sentences: "pack.check was 'strict' and is now 'full'"."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        dotted = f"{within}.{name}" if within else name
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, dotted)
        elif old != new and name == "listing":
            found.append("the list of images changed (some came, went or moved)")
        elif old != new:
            found.append(f"{dotted} was {old!r} and is now {new!r}")
    return found


def _hold(descriptor: int, out: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            str(out), "another process is packing into it", "wait for it, or choose another directory"
        ) from None
    except OSError:
        pass  # a file system without locks


def _last_state(path: Path) -> tuple[State, int]:
    """The last whole state of a journal, and the length of the journal up to it."""
    state, length = State(), 0
    if not path.exists():
        return state, 0
    for line in path.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            fields = json.loads(line)
        except ValueError:
            break
        fields["shards"] = state.shards + [Shard(**shard) for shard in fields["shards"]]
        state = State(**fields)
        length += len(line)
    return state, length
