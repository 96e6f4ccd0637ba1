"""How far a verify has come, so that an interrupted one goes on, and a repair need not look for the damage again.

A hidden file in the shard set or, where that is read-only, in the user's cache directory:

    {"root": "…", "directory": "/data/shards"}
    {"file": "train-000000.tar", "stamps": [[1000448, 1764093000000000000], …], "decoded": false, "reasons": [], …}
    …
    {"complete": true}                  a whole pass, which found damage

A line counts for files that still have the sizes and times it gives, in a set with that root, and for a week: rot on a
disk changes neither.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

FILE = ".verify.jsonl"
_LASTS = 7 * 24 * 3600.0  # seconds

Stamps = list[list[int] | None]


class Verified:
    """The files of `directory` that were read, and what was wrong with them.

    A pass that was complete counts only where `again` is False. Without any place to write, nothing is remembered.
    """

    def __init__(self, directory: Path, root: str, *, again: bool) -> None:
        self._lines: dict[str, dict[str, Any]] = {}
        self._file: IO[bytes] | None = None
        head = {"root": root, "directory": str(directory.resolve())}
        self.path = _place(directory)
        lines = _read(self.path)
        goes_on = lines[:1] == [head] and not (again and lines[-1:] == [{"complete": True}])
        if goes_on:
            now = time.time()
            self._lines = {line["file"]: line for line in lines[1:] if now - line.get("when", 0) < _LASTS}
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "wb")  # noqa: SIM115  # closed by close()
            for line in (head, *self._lines.values()):
                self._write(line)

    def reasons(self, name: str, stamps: Stamps, decode: bool) -> list[str] | None:
        """What was wrong with a file; None where it has to be read."""
        line = self._lines.get(name)
        if line is None or line["stamps"] != stamps or (decode and not line["decoded"]):
            return None
        reasons: list[str] = line["reasons"]
        return reasons

    def note(self, name: str, stamps: Stamps, decode: bool, reasons: list[str]) -> None:
        """Remember that a file, which had these stamps before it was read, was read."""
        self._write({"file": name, "stamps": stamps, "decoded": decode, "when": time.time(), "reasons": reasons})

    def finish(self, damaged: bool) -> None:
        """The pass is complete. Where it found nothing there is nothing to remember."""
        self._write({"complete": True})
        self.close()
        if not damaged:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def close(self) -> None:
        """Close the file; an interrupted pass leaves it for the next one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            try:
                self._file.write(json.dumps(line).encode() + b"\n")
                self._file.flush()
            except OSError:  # a full disk: the pass itself needs no room
                self.close()


def forget(directory: Path) -> None:
    """Remove what a pass over a directory left: the damage it found is no more."""
    with contextlib.suppress(OSError):
        _place(directory).unlink()


def stamps_of(paths: Iterable[Path]) -> Stamps:
    """Size in bytes and time of the last change in ns of each file; None for one that cannot be had."""
    stamps: Stamps = []
    for path in paths:
        try:
            status = path.stat()
            stamps.append([status.st_size, status.st_mtime_ns])
        except OSError:
            stamps.append(None)
    return stamps


def _place(directory: Path) -> Path:
    if os.access(directory, os.W_OK):
        return directory / FILE
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:16]
    return cache / "data_shards" / f"verify-{name}.jsonl"


def _read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file, up to one that was cut off."""
    lines = []
    with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
        for line in file:
            fields = json.loads(line)
            if not isinstance(fields, dict):
                break
            lines.append(fields)
    return lines
