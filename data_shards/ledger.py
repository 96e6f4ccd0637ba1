"""The ledger: every sample that could not be used in a run, and an alarm when there are too many.

A bad sample keeps its place in the stream, another fills its row, and a line of JSON says which one it was and why:

    {"shard": "train-000003.tar", "key": "000031337-cat", "offset": 512, "hash": "…", "reason": "truncated", …}
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from data_shards.errors import OutputError, SampleRateError

_ENOUGH = 10  # bad samples before a share of them means anything


@dataclass(frozen=True, kw_only=True, slots=True)
class BadSample:
    """One line of the ledger: `offset` of the image in its tar, `position` in the stream of samples."""

    shard: str
    key: str
    offset: int
    hash: str
    reason: str
    epoch: int
    position: int

    @staticmethod
    def hash_of(image: bytes) -> str:
        """The hash by which a bad image is known: its sha256, as in the metadata of the sample."""
        return hashlib.sha256(image).hexdigest()


class Ledger:
    """Appends bad samples to the file `path` (None: only counts them) and counts them by reason.

    With more than the share `max_rate` of the samples bad, `check` raises `SampleRateError`.
    """

    def __init__(self, path: Path | None = None, max_rate: float = 0.01) -> None:
        self.path, self.max_rate = path, max_rate
        self.reasons: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def bad(self) -> int:
        """How many samples were bad so far."""
        return self.reasons.total()

    def record(self, sample: BadSample) -> None:
        """Count a bad sample and append its line."""
        with self._lock:
            self.reasons[sample.reason] += 1
            if self.path is not None:
                try:
                    with open(self.path, "a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(sample)) + "\n")
                except OSError as error:
                    raise OutputError(
                        str(self.path), f"cannot be written ({error.strerror})", "the ledger needs a place on the disk"
                    ) from None

    def check(self, seen: int, directory: Path) -> None:
        """Raise `SampleRateError` where more than `max_rate` of the `seen` samples of `directory` were bad."""
        if self.bad < _ENOUGH or self.bad <= self.max_rate * seen:
            return
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.reasons.most_common())
        listed = f" (listed in {self.path})" if self.path is not None else ""
        raise SampleRateError(
            str(directory),
            f"{self.bad} of the last {seen} samples cannot be decoded: {reasons}{listed}",
            f"at most {self.max_rate:.2%} may be",
            f"python -m data_shards verify {directory}",
        )
