"""Brings a damaged shard set back to what its manifest says, from what is whole in it and from its source.

    verify ─▶ salvage each damaged shard ─▶ find the rest in the source ─▶ make it anew ─▶ same hash? into its place
                                                                                └─▶ no: name what is missing

- Only a tar that has the hash of the manifest takes the place of a damaged one. An index is written again from its tar.
- What cannot be had is named. Asked to `drop` it, the shard goes on without it, and the manifest accounts for that.
- Killed anywhere, the same command goes on: what is in place is whole, and the work folder is begun anew or moved out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data_shards.checking.damage import Damage, reasons_in
from data_shards.checking.verified import forget
from data_shards.durable import move_durably, write_durably
from data_shards.errors import SourceError
from data_shards.index import samples_in, write_index
from data_shards.manifest import Manifest, Shard
from data_shards.progress import Progress
from data_shards.repair.drop import drop_lost
from data_shards.repair.origin import Origin, Wanted
from data_shards.repair.ranges import runs, without_ledgers
from data_shards.repair.rebuild import Lost, Plan, Staged, Trust, rebuild
from data_shards.repair.salvage import salvage
from data_shards.repair.work import work_folder
from data_shards.shard_hash import hash_of
from data_shards.verify import verify


@dataclass
class Repaired:
    """What a repair did.

    `rebuilt` gives how many samples came from the source; `changed` names shards that can be made anew, but not with
    the bytes that were packed; `left` is damage of another kind.
    """

    rebuilt: dict[str, int] = field(default_factory=dict)
    indexed: list[str] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    left: list[Damage] = field(default_factory=list)
    dropped: bool = False

    @property
    def whole(self) -> bool:
        """Whether the set is what its manifest says now."""
        return not self.left and (self.dropped or not (self.lost or self.changed))


def repair(directory: Path, drop: bool = False, quiet: bool = True) -> Repaired:
    """Repair a shard set; with `drop`, go on without what cannot be had.

    Raises `ShardError` where there is no manifest, and `OutputError` where the directory cannot be written.
    """
    directory = Path(directory)
    Manifest.load(directory)
    with work_folder(directory) as work:
        with Progress(label="verify", quiet=quiet) as progress:
            damages = verify(directory, progress=progress, again=False)
        return _Repair(directory, work, damages, quiet).run(drop)


class _Repair:
    """The repair of a set in which `damages` were found."""

    def __init__(self, directory: Path, work: Path, damages: list[Damage], quiet: bool) -> None:
        self.directory, self.work, self.damages, self.quiet = directory, work, damages, quiet
        self.manifest = Manifest.load(directory)
        self.origin = Origin(self.manifest)
        self.progress = Progress(quiet=True)
        self.done = Repaired()
        self.replaced: list[Staged] = []

    def run(self, drop: bool) -> Repaired:
        """Make whole what can be, drop what cannot, or say what it is."""
        named = {damage.shard for damage in self.damages}
        plans = {}
        for shard in self.manifest.shards:
            if shard.name in named:
                if _hash_of(self.directory / shard.name, shard) == shard.hash:
                    self.index_again(shard)
                else:
                    plans[shard.name] = Plan(shard, salvage(self.directory, shard, self.origin.classes))
        known = {shard.name for shard in self.manifest.shards}
        self.done.left += [damage for damage in self.damages if damage.shard not in known]
        with Progress(
            sum(plan.shard.samples for plan in plans.values()), label="rebuild", quiet=self.quiet
        ) as progress:
            self.progress = progress
            for plan in plans.values():
                if plan.take_keys() and len(plan.found.whole) == plan.shard.samples:
                    self.put(plan, self.again(plan, "all"))
            plans = {name: plan for name, plan in plans.items() if name not in self.done.rebuilt}
            if plans:
                self.look_up(plans)
            for plan in plans.values():
                self.rebuild(plan, drop)
        if self.replaced and drop:
            drop_lost(self.directory, self.work, self.manifest, self.replaced, self.done.changed)
            self.done.dropped = True
        if self.done.whole:
            forget(self.directory)
        return self.done

    def index_again(self, shard: Shard) -> None:
        """Write the index of a tar that is whole, and see whether that was all."""
        text = write_index(samples_in(self.directory / shard.name))
        path = self.directory / shard.index_name
        if not path.exists() or path.read_bytes() != text:
            write_durably(path, text)
            self.done.indexed.append(shard.index_name)
        left = reasons_in(self.directory, shard, self.origin.classes)
        self.done.left += [Damage(shard.name, reason) for reason in left]

    def look_up(self, plans: dict[str, Plan]) -> None:
        """Find the entries of all samples of these shards, also of those whose numbers are not known yet."""
        unknown = runs(self.directory, self.manifest, plans)
        wanted = Wanted(ranges=[(run.split, run.first, run.last) for run in unknown])
        for plan in plans.values():
            for slot in plan.slots or ():
                if slot.key is not None and slot.number is not None:
                    wanted.keys[slot.key] = slot.number
                    name = plan.found.stories.get(slot.key, {}).get("source")
                    if isinstance(name, str):
                        wanted.names[name] = slot.number
        try:
            entries = self.origin.find(wanted)
        except SourceError as error:
            entries, self.origin.why = {}, f"its source is not at hand ({error.where}: {error.given})"
        for run in unknown:
            numbers = without_ledgers(self.directory, run)
            if self.origin.why is None:
                of_split = ((n, entries[n]) for n in numbers if n in entries and entries[n].split == run.split)
                run.assign(list(of_split), None)
            else:
                run.assign([(n, None) for n in numbers] if len(self.manifest.splits) == 1 else None, self.origin.why)
        for plan in plans.values():
            if plan.slots is not None:
                plan.slots = [s._replace(entry=None if s.number is None else entries.get(s.number)) for s in plan.slots]

    def rebuild(self, plan: Plan, drop: bool) -> None:
        """Make one shard anew in the ways there are, until it has its hash; else note what is missing."""
        name = plan.shard.name
        staged = rebuild(plan, self.directory, self.work, self.origin, seen=self.seen)
        if self.put(plan, staged):
            return
        at_hand = self.origin.why is None and plan.slots is not None and all(slot.entry for slot in plan.slots)
        # What the shard says about itself may be what is damaged: believe less and less of it.
        if at_hand and (self.put(plan, self.again(plan, "images")) or self.put(plan, self.again(plan, "nothing"))):
            staged.remove()
            return
        self.done.lost += staged.lost
        if not staged.lost:
            self.done.changed.append(name)
        if drop:
            self.replaced.append(staged)
        else:
            staged.remove()

    def again(self, plan: Plan, trust: Trust) -> Staged:
        """Another try, beside the first one."""
        folder = self.work / "again"
        folder.mkdir(exist_ok=True)
        return rebuild(plan, self.directory, folder, self.origin, trust=trust, seen=self.seen)

    def put(self, plan: Plan, staged: Staged) -> bool:
        """Put a tar in its place, if it has the hash that the manifest gives."""
        shard = plan.shard
        if staged.lost or staged.shard.hash != shard.hash:
            return False
        for name in (shard.index_name, shard.name):
            move_durably(staged.folder / name, self.directory / name)
        self.done.rebuilt[shard.name] = staged.from_source
        return True

    def seen(self) -> None:
        """One more sample was dealt with."""
        self.progress.update(1)


def _hash_of(path: Path, shard: Shard) -> str | None:
    """The hash of a tar, None where it has another size or is damaged."""
    try:
        return hash_of(path) if path.stat().st_size == shard.bytes else None
    except (OSError, ValueError):
        return None
