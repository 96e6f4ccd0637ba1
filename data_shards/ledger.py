"""The ledger: every sample that could not be used in a run, and an alarm when there are too many.

A bad sample keeps its place in the stream, another fills its row, and a line of JSON says which one it was and why:

    {"shard": "train-000003.tar", "key": "000031337-cat", "offset": 512, "hash": "…", "reason": "truncated", …}

Each process of a job has a file of its own. A position is entered once: a run that was killed and does some of its
steps again meets the same bad samples, whichever process meets them.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_shards.errors import OutputError, SampleRateError

FILE = "bad_samples.jsonl"
WINDOW = 20_000  # samples over which the share of bad ones is taken
_ENOUGH = 10  # bad samples before a share of them means anything


@dataclass(frozen=True, kw_only=True, slots=True)
class BadSample:
    """One line of the ledger.

    `root` is that of its shard set, `offset` that of the image in its tar, `position` that in the stream of samples.
    """

    shard: str
    key: str
    offset: int
    hash: str
    reason: str
    epoch: int
    position: int
    root: str | None = None

    @staticmethod
    def hash_of(image: bytes) -> str:
        """The hash by which a bad image is known: its sha256, as in the metadata of the sample."""
        return hashlib.sha256(image).hexdigest()


class Ledger:
    """Appends bad samples to the file `path` (None: only counts them) and counts them by reason.

    Where more than the share `max_rate` of the samples seen lately are bad, `check` raises `SampleRateError`.
    """

    def __init__(self, path: Path | None = None, max_rate: float = 0.01) -> None:
        self.path, self.max_rate = path, max_rate
        self.reasons: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._lately: deque[tuple[int, BadSample]] = deque()  # with the samples seen before each
        self._fresh: list[BadSample] = []
        self._start = 0
        self._known: set[int] | None = None  # positions that have a line, from `_start` on; read when one is needed

    @classmethod
    def of_run(cls, folder: Path, rank: int = 0, max_rate: float = 0.01) -> Ledger:
        """The ledger of one process of a run."""
        name = f"{Path(FILE).stem}-{rank}.jsonl" if rank else FILE
        return cls(folder / name, max_rate)

    @property
    def bad(self) -> int:
        """How many samples were bad so far."""
        return self.reasons.total()

    def start(self, position: int) -> None:
        """The stream begins, or goes on, at this position."""
        with self._lock:
            self._start, self._known = position, None

    def record(self, sample: BadSample) -> None:
        """Count a bad sample and append its line, unless its position has one. Raises `OutputError`."""
        with self._lock:
            self.reasons[sample.reason] += 1
            self._fresh.append(sample)
            if self.path is None:
                return
            try:
                if self._known is None:
                    self._known = self._positions(self.path)
                if sample.position not in self._known:
                    with open(self.path, "a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(sample)) + "\n")
            except OSError as error:
                raise OutputError(
                    str(self.path), f"cannot be written ({error.strerror})", "the ledger needs a place on the disk"
                ) from None

    def check(self, seen: int, where: Path | str) -> None:
        """Raise `SampleRateError` where too many samples of the shard set `where` were bad.

        `seen` is how many there were so far; of the last `WINDOW` of them, at most the share `max_rate` may be bad.
        """
        self._lately.extend((seen, sample) for sample in self._fresh)
        self._fresh.clear()
        while self._lately and self._lately[0][0] <= seen - WINDOW:
            self._lately.popleft()
        bad, last = len(self._lately), min(seen, WINDOW)
        if bad < _ENOUGH or bad <= self.max_rate * last:
            return
        samples = [sample for _, sample in self._lately]
        reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(s.reason for s in samples).most_common())
        (shard, most), *_ = Counter(sample.shard for sample in samples).most_common(1)
        listed = f", listed in {self.path}" if self.path is not None else ""
        raise SampleRateError(
            str(where),
            f"{bad} of the last {last} samples cannot be decoded: {reasons}"
            f" ({most} of them in {shard}, the last {samples[-1].key} in {samples[-1].shard}{listed})",
            f"at most {self.max_rate:.2%} may be",
            f"python -m data_shards verify {where}",
        )

    def _positions(self, path: Path) -> set[int]:
        """The positions from the start of this stream on that have a line already, in any ledger of the run."""
        _end_line(path)
        files = {path, *ledgers_in(path.parent)} if path.name.startswith(Path(FILE).stem) else {path}
        return {
            entry["position"]
            for file in files
            for entry in entries(file)
            if isinstance(entry.get("position"), int) and entry["position"] >= self._start
        }


def ledgers_in(folder: Path) -> list[Path]:
    """The ledgers of a run's processes."""
    return sorted(folder.glob(f"{Path(FILE).stem}*.jsonl"))


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a ledger, none where there is no file; one that a kill has cut short is left out."""
    if not path.exists():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict):
                yield entry


def _end_line(path: Path) -> None:
    """End a last line that was cut short, so that the next does not go on with it."""
    if path.exists() and path.stat().st_size:
        with open(path, "r+b") as file:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
