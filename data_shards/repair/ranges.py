"""Which entries of the listing the samples of a shard were, when neither its tar nor its index can tell.

The shards of a split lie in the order of the listing. So the samples of shards that follow one another are the entries
between the last sample before them and the first after them: those of their split, without what was quarantined or
dropped as a duplicate. Where there are as many as were packed, that is which they are.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from data_shards.checking.members import in_index, number_in
from data_shards.manifest import Manifest, Shard
from data_shards.packing.quarantine import FOLDER, LEDGER
from data_shards.packing.slice_packer import DUPLICATES
from data_shards.readers.reader import Entry
from data_shards.repair.rebuild import Plan, Slot
from data_shards.sample import key_for


@dataclass
class Run:
    """Shards that follow one another in a split, and the numbers between which theirs lie, both included."""

    split: str
    plans: list[Plan]
    first: int
    last: int

    @property
    def samples(self) -> int:
        """How many samples its shards held."""
        return sum(plan.shard.samples for plan in self.plans)

    def assign(self, candidates: list[tuple[int, Entry | None]] | None, why: str | None) -> None:
        """Fill the slots of the shards with these entries, if there are as many as there were samples."""
        if candidates is None or len(candidates) != self.samples:
            found = "an unknown number of" if candidates is None else f"{len(candidates)}"
            explained = why or f"its source lists {found} images where {self.samples} were packed"
            for plan in self.plans:
                plan.why = explained
            return
        for plan in self.plans:
            mine, candidates = candidates[: plan.shard.samples], candidates[plan.shard.samples :]
            keys = {number_in(key): key for key in plan.found.whole}
            if not keys.keys() <= {number for number, _ in mine}:
                plan.why = "its source does not list the images that it held"
                continue
            plan.slots = [Slot(number, keys.get(number) or _key(number, entry), entry) for number, entry in mine]


def runs(directory: Path, manifest: Manifest, plans: Mapping[str, Plan]) -> list[Run]:
    """The shards whose samples are unknown, by runs."""
    found = []
    for split in manifest.splits:
        first = 0
        for unknown, group in groupby(manifest.of(split), lambda shard: _is_unknown(plans.get(shard.name))):
            shards = list(group)
            if unknown:
                found.append(Run(split, [plans[shard.name] for shard in shards], first, -1))
                continue
            if found and found[-1].split == split and found[-1].last < 0:
                found[-1].last = next(iter(_numbers(directory, shards[0], plans)), 0) - 1
            first = max(_numbers(directory, shards[-1], plans), default=-1) + 1
        if found and found[-1].split == split and found[-1].last < 0:
            found[-1].last = manifest.totals["listed"] - 1
    return found


def without_ledgers(directory: Path, run: Run) -> Iterator[int]:
    """The numbers of a run that neither ledger has."""
    away = set()
    for path in (directory / FOLDER / LEDGER, directory / DUPLICATES):
        if path.exists():
            with open(path, "rb") as file:
                for line in file:
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        number = json.loads(line)["number"]
                        if run.first <= number <= run.last:
                            away.add(number)
    return (number for number in range(run.first, run.last + 1) if number not in away)


def _key(number: int, entry: Entry | None) -> str | None:
    return None if entry is None else key_for(number, entry.name)


def _is_unknown(plan: Plan | None) -> bool:
    return plan is not None and plan.slots is None


def _numbers(directory: Path, shard: Shard, plans: Mapping[str, Plan]) -> list[int]:
    """The numbers of the samples of a shard that tells its keys."""
    plan = plans.get(shard.name)
    if plan is not None and plan.found.keys is not None:
        keys = plan.found.keys
    else:
        keys = [key for key, _ in in_index(directory / shard.index_name, shard) or []]
    return [number for key in keys if (number := number_in(key)) is not None]
