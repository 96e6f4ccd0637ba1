"""The journal of a slice that is being packed: how far it came, so that a killed one ends with the same bytes.

Everything that packing writes only grows, and depends on nothing but the entries before. So a state is a number of
entries and the lengths of the open files; to go back to it, each file is cut to its length. Each line of
`journal.jsonl` is a state; the last whole one counts.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from data_shards.durable import AppendFile
from data_shards.manifest import Shard

_FILE = "journal.jsonl"


@dataclass
class State:
    """How far a slice came: what became of its entries, finished shards, and lengths of open files.

    `counts["listed"]` entries were dealt with. `opened` are the names of shards in the order they were begun.
    """

    counts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    shards: list[Shard] = field(default_factory=list)


class Journal:
    """The states of a slice. `state` is the last one that was committed."""

    def __init__(self, work: Path) -> None:
        self.state, length = _last_state(work / _FILE)
        self._lines = AppendFile(work / _FILE, length)
        self._written = len(self.state.shards)

    def commit(self, state: State) -> None:
        """Make `state` the one to go back to. The files it gives lengths of are already on the disk."""
        line = {**asdict(state), "shards": [asdict(shard) for shard in state.shards[self._written :]]}
        self._lines.append(json.dumps(line).encode() + b"\n")
        self._lines.sync()
        self._written = len(state.shards)
        self.state = state

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


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
