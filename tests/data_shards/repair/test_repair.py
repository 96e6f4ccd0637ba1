"""Repairing gives back the bytes that were packed, from what is whole and from the source; and says what it cannot."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_shards import durable, readers
from data_shards.checking.members import number_in
from data_shards.durable import AppendFile
from data_shards.errors import OutputError, ShardError, SourceError
from data_shards.index import read_index
from data_shards.manifest import Manifest
from data_shards.readers.image_folder import ImageFolder
from data_shards.readers.image_list import ImageList
from data_shards.repair.repair import Repaired, repair
from data_shards.stream import ShardSet
from data_shards.verify import verify
from tests.data_shards.pictures import Listed, broken_jpeg, contents, jpeg, listed, mixed, pack_into
from tests.data_shards.shard_sets import pack_whole

Source = Callable[[Listed | None], None]


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    """Says what the source of a shard set is when it is asked for again; None for one that is gone."""

    def give(reader: Listed | None) -> None:
        def reader_from(fields: Any) -> Listed:
            assert fields == {"name": "listed"}
            if reader is None:
                raise SourceError("/pictures", "there is no such folder", "give a folder that holds pictures")
            return reader

        monkeypatch.setattr(readers, "reader_from", reader_from, raising=False)

    return give


@pytest.fixture
def whole(tmp_path: Path, source: Source) -> Path:
    """A set with two splits, rejected images and duplicates, whose source is gone."""
    pack_whole(tmp_path / "set", mixed(60), samples_per_shard=5)
    source(None)
    return tmp_path / "set"


def flip(path: Path, place: int) -> None:
    changed = bytearray(path.read_bytes())
    changed[place // 8] ^= 1 << place % 8
    path.write_bytes(changed)


def in_image(directory: Path, shard: str, sample: int) -> int:
    """A byte inside the image of a sample."""
    index = read_index(directory / shard)
    return int(index.offset[sample]) + int(index.size[sample]) // 2


def test_a_whole_set_is_left_alone(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    assert repair(whole) == Repaired()
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()} == before


def test_an_index_is_written_again_from_its_tar(whole: Path) -> None:
    before = contents(whole)
    (whole / "train-000001.idx").unlink()
    (whole / "test-000000.idx").write_bytes(b"v1.2 0\n")
    assert repair(whole) == Repaired(indexed=["train-000001.idx", "test-000000.idx"])
    assert contents(whole) == before


def test_damage_outside_the_images_needs_no_source(whole: Path) -> None:
    before = contents(whole)
    header = int(read_index(whole / "train-000000.tar").offset[2]) - 512
    flip(whole / "train-000000.tar", 8 * (header + 140))  # the time in a header
    flip(whole / "train-000001.tar", 8 * ((whole / "train-000001.tar").stat().st_size - 5))  # the end
    (whole / "train-000002.tar").write_bytes(before["train-000002.tar"][:-1024])
    (whole / "train-000003.tar").write_bytes(before["train-000003.tar"] + b"more")
    header = int(read_index(whole / "train-000004.tar").offset[2]) - 512
    flip(whole / "train-000004.tar", 8 * (header + 5))  # the name in a header
    done = repair(whole)
    assert done.whole
    assert done.rebuilt == dict.fromkeys((f"train-00000{n}.tar" for n in range(5)), 0)
    assert contents(whole) == before


def shards_of(directory: Path) -> list[str]:
    return [shard.name for shard in Manifest.load(directory).shards]


def test_any_damage_to_any_files_is_undone_where_the_source_is_there(whole: Path, source: Source) -> None:
    source(mixed(60))
    before = contents(whole)
    names = [name for name in before if name.endswith((".tar", ".idx")) and "/" not in name]
    moments = random.Random(1)
    for trial in range(60):
        damaged = moments.sample(names, moments.choice([1, 2, 5, len(names)]))
        for name in damaged:
            kind = moments.choice(["flip", "flip", "flips", "cut", "shift", "zeros", "delete"])
            content = bytearray(before[name])
            place = moments.randrange(len(content))
            if kind.startswith("flip"):
                for _ in range(1 if kind == "flip" else 20):
                    content[moments.randrange(len(content))] ^= 1 << moments.randrange(8)
            elif kind == "cut":
                del content[place:]
            elif kind == "shift":
                del content[place : place + moments.choice([1, 512])]
            elif kind == "zeros":
                content[place : place + 4096] = bytes(len(content[place : place + 4096]))
            if kind == "delete":
                (whole / name).unlink()
            else:
                (whole / name).write_bytes(content)
        done = repair(whole)
        assert done.whole, (trial, damaged, done)
        assert contents(whole) == before, (trial, damaged)


def test_only_what_is_missing_is_read_from_the_source(whole: Path, source: Source) -> None:
    read = []

    class Watched(Listed):
        def read(self, entry: Any) -> bytes:
            read.append(entry.name)
            return super().read(entry)

    source(Watched(mixed(60).images))
    before = contents(whole)
    flip(whole / "train-000001.tar", 8 * in_image(whole, "train-000001.tar", 3))
    name = ShardSet(whole).key(1, 3)
    assert repair(whole).rebuilt == {"train-000001.tar": 1}
    assert contents(whole) == before
    assert read == [f"{number_in(name)}.jpg"]


def test_a_source_that_gained_and_lost_other_images_still_serves(whole: Path, source: Source) -> None:
    images = mixed(60).images
    kept = {number_in(ShardSet(whole).key(2, sample)) for sample in range(5)}
    source(Listed([("new.jpg", "train", "0", jpeg(999)), *(image for n, image in enumerate(images) if n in kept)]))
    before = contents(whole)
    (whole / "train-000002.tar").unlink()
    assert repair(whole).rebuilt == {"train-000002.tar": 5}
    assert contents(whole) == before


def test_a_shard_that_left_nothing_is_found_between_its_neighbours(whole: Path, source: Source) -> None:
    source(mixed(60))
    before = contents(whole)
    for name in ("train-000000", "train-000003", "train-000004", "test-000001", shards_of(whole)[-1][:-4]):
        for path in whole.glob(f"{name}.*"):
            path.unlink()
    assert repair(whole).whole
    assert contents(whole) == before


def test_what_cannot_be_had_is_named_and_nothing_changes(whole: Path, source: Source) -> None:
    images = mixed(60).images
    shards = ShardSet(whole)
    keys = [shards.key(1, sample) for sample in range(5)]
    gone, other = images[number_in(keys[0]) or 0][0], images[number_in(keys[4]) or 0][0]
    for sample in (0, 4):
        flip(whole / "train-000001.tar", 8 * in_image(whole, "train-000001.tar", sample))
    changed = [(*row[:3], jpeg(777)) if row[0] == other else row for row in images if row[0] != gone]
    source(Listed(changed))
    before = contents(whole)
    done = repair(whole)
    assert not done.whole
    assert [(lost.shard, lost.key, lost.source, lost.why) for lost in done.lost] == [
        ("train-000001.tar", keys[0], gone, "its source no longer lists it"),
        ("train-000001.tar", keys[4], other, "its source has other bytes now"),
    ]
    after = contents(whole)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {".verify.jsonl"}


def samples_of(directory: Path) -> dict[str, list[tuple[str, bytes]]]:
    """The samples of a set by key, each its members, by an independent reader."""
    samples: dict[str, list[tuple[str, bytes]]] = {}
    for name in shards_of(directory):
        with tarfile.open(directory / name) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                samples.setdefault(member.name.partition(".")[0], []).append((member.name, file.read()))
    return samples


def test_dropping_keeps_every_other_sample_and_accounts_for_the_lost_ones(whole: Path) -> None:
    before, samples = Manifest.load(whole), samples_of(whole)
    shards = ShardSet(whole)
    lost = [shards.key(1, 2), *(shards.key(3, sample) for sample in range(5))]
    flip(whole / "train-000001.tar", 8 * in_image(whole, "train-000001.tar", 2))
    (whole / "train-000003.tar").unlink()
    done = repair(whole, drop=True)
    assert done.whole
    assert [entry.key for entry in done.lost] == lost
    assert samples_of(whole) == {key: members for key, members in samples.items() if key not in lost}
    assert verify(whole, decode=True) == []
    after = Manifest.load(whole)
    assert [s.samples for s in after.of("train")] == [5, 4, 5, *(s.samples for s in before.of("train")[4:])]
    assert not (whole / "train-000003.tar").exists()
    assert not (whole / "train-000003.idx").exists()
    assert after.totals == {
        **before.totals,
        "accepted": before.totals["accepted"] - 6,
        "quarantined": before.totals["quarantined"] + 6,
    }
    assert after.reasons == {**before.reasons, "lost": 6}
    assert after.lineage == [
        {"root": before.root, "done": "repair --drop", "lost": 6, "shards": ["train-000001.tar", "train-000003.tar"]}
    ]
    lines = [json.loads(line) for line in (whole / "quarantine/ledger.jsonl").read_text().splitlines()]
    assert [(line["number"], line["reason"]) for line in lines[-6:]] == [(number_in(key), "lost") for key in lost]
    assert "its source is not at hand (/pictures: there is no such folder)" in lines[-1]["detail"]
    flip(whole / "test-000000.tar", 8 * in_image(whole, "test-000000.tar", 0))
    assert repair(whole, drop=True).whole
    assert [entry["root"] for entry in Manifest.load(whole).lineage] == [before.root, after.root]


def test_a_set_without_any_rejected_image_gets_its_ledger(tmp_path: Path, source: Source) -> None:
    pack_whole(tmp_path, listed(9), samples_per_shard=3)
    source(None)
    for path in tmp_path.glob("train-000001.*"):
        path.unlink()
    done = repair(tmp_path, drop=True)
    assert [entry.number for entry in done.lost] == [3, 4, 5], "in a set of one split the numbers are known"
    assert verify(tmp_path) == []


def test_lost_samples_without_names_are_counted(whole: Path) -> None:
    for path in whole.glob("train-000001.*"):
        path.unlink()
    done = repair(whole, drop=True)
    assert [(entry.number, entry.key) for entry in done.lost] == [(None, None)] * 5
    assert verify(whole) == []


def test_a_set_of_which_nothing_would_be_left_is_not_emptied(tmp_path: Path, source: Source) -> None:
    pack_whole(tmp_path, listed(3))
    source(None)
    (tmp_path / "train-000000.tar").unlink()
    before = contents(tmp_path)
    with pytest.raises(ShardError, match="nothing would be left of it"):
        repair(tmp_path, drop=True)
    assert {name: text for name, text in contents(tmp_path).items() if name != ".verify.jsonl"} == before


def test_metadata_that_changed_and_cannot_be_had_again_is_told_from_a_loss(whole: Path, source: Source) -> None:
    content = (whole / "train-000001.tar").read_bytes()
    (whole / "train-000001.tar").write_bytes(content.replace(b'"width":10', b'"width":11', 1))
    done = repair(whole)
    assert (done.changed, done.lost, done.whole) == (["train-000001.tar"], [], False)
    kept = repair(whole, drop=True)
    assert (kept.changed, kept.whole) == (["train-000001.tar"], True)
    assert verify(whole) == []
    assert Manifest.load(whole).lineage[-1]["changed"] == ["train-000001.tar"]
    source(mixed(60))


def test_metadata_that_changed_is_made_again_from_the_source(whole: Path, source: Source) -> None:
    source(mixed(60))
    before = contents(whole)
    content = before["train-000001.tar"]
    for old, new in ((b'"width":10', b'"width":11'), (b'"sha256":"', b'"sha256":"f'), (b'"source":"', b'"source":"x')):
        at = content.index(old) + len(new) - 1
        changed = content.replace(old, new, 1) if len(old) == len(new) else content[:at] + new[-1:] + content[at + 1 :]
        assert changed != content
        (whole / "train-000001.tar").write_bytes(changed)
        assert repair(whole).whole
        assert contents(whole) == before


def test_what_a_repair_cannot_mend_is_left_and_named(whole: Path) -> None:
    flip(whole / "quarantine/images-000000.tar", 8 * 600)
    (whole / "foreign.tar").write_bytes(b"")
    done = repair(whole)
    assert not done.whole
    assert [damage.shard for damage in done.left] == ["foreign.tar", "quarantine/images-000000.tar"]


def test_a_manifest_that_does_not_name_its_reader_says_so(tmp_path: Path) -> None:
    manifest = pack_into(tmp_path, listed(4), samples_per_shard=2)
    (tmp_path / "train-000001.tar").unlink()
    (lost, _) = repair(tmp_path).lost
    assert lost.why == "the manifest does not say how its source is read"
    replace(manifest, source={**manifest.source, "reader": None}).save(tmp_path)
    assert repair(tmp_path).lost[0].why == lost.why


class Killed(BaseException):
    """Stands for SIGKILL."""


def crash_at(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Die at the `count`-th call that makes something durable or removes it."""
    calls = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= count:
                raise Killed
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(durable.os, "fsync", counted(lambda _: None))
    monkeypatch.setattr(durable.os, "replace", counted(os.replace))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree))


def crashes(directory: Path, fresh: Path, **options: Any) -> Iterator[int]:
    """Repair copies of a directory, each killed one step later, then repaired; gives the steps."""
    step = 1
    while True:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(fresh, directory)
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, step)
            try:
                repair(directory, **options)
                return
            except Killed:
                pass
        assert repair(directory, **options).whole
        yield step
        step += 1


def test_a_repair_killed_at_any_step_goes_on(whole: Path, tmp_path: Path, source: Source) -> None:
    source(mixed(60))
    before = contents(whole)
    flip(whole / "train-000001.tar", 8 * in_image(whole, "train-000001.tar", 2))
    (whole / "train-000003.tar").unlink()
    (whole / "test-000000.idx").unlink()
    steps = 0
    for steps in crashes(tmp_path / "killed", whole):
        assert contents(tmp_path / "killed") == before, f"after a kill at step {steps}"
    assert steps > 10


def test_a_drop_killed_at_any_step_goes_on(whole: Path, tmp_path: Path) -> None:
    flip(whole / "train-000001.tar", 8 * in_image(whole, "train-000001.tar", 2))
    (whole / "train-000003.tar").unlink()
    shutil.copytree(whole, tmp_path / "once")
    assert repair(tmp_path / "once", drop=True).whole
    expected, steps = contents(tmp_path / "once"), 0
    for steps in crashes(tmp_path / "killed", whole, drop=True):
        found = {name: text for name, text in contents(tmp_path / "killed").items() if name != ".verify.jsonl"}
        assert found == expected, f"after a kill at step {steps}"
    assert steps > 15


def test_a_full_disk_is_a_sentence_and_nothing_is_lost(
    whole: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source(mixed(60))
    before = contents(whole)
    (whole / "train-000001.tar").unlink()

    def full(self: AppendFile, parts: list[bytes]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AppendFile, "extend", full)
        with pytest.raises(OutputError, match="no space is left on its disk; free some and repeat the command"):
            repair(whole)
    assert repair(whole).whole
    assert contents(whole) == before


def test_two_repairs_at_once_are_kept_apart(whole: Path, source: Source) -> None:
    class Inner(Listed):
        def read(self, entry: Any) -> bytes:
            with pytest.raises(OutputError, match="another process repairs it"):
                repair(whole)
            return super().read(entry)

    source(Inner(mixed(60).images))
    before = contents(whole)
    (whole / "train-000001.tar").unlink()
    assert repair(whole).whole
    assert contents(whole) == before


def test_an_image_that_was_packed_undecodable_is_no_damage(tmp_path: Path, source: Source) -> None:
    pack_whole(tmp_path, Listed([("a", "train", None, jpeg(1)), ("b", "train", None, broken_jpeg(2))]), probe="header")
    source(None)
    assert repair(tmp_path).whole


def test_a_set_from_real_files_is_rebuilt_by_its_manifest_alone(tmp_path: Path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    for number in range(60):
        folder = pictures / ("test" if number % 6 == 0 else "train") / f"class {number % 4}"
        folder.mkdir(parents=True, exist_ok=True)
        image = broken_jpeg(number) if number % 9 == 0 else jpeg(number % 50, 40, 30)
        (folder / f"{number}.jpg").write_bytes(image)
    settings: dict[str, Any] = {"max_side": 20, "images_per_slice": 20, "samples_per_shard": 6}
    manifest = pack_into(out, ImageFolder.Config(path=str(pictures)).build(), **settings)
    assert min(manifest.totals.values()) > 0
    before = contents(out)
    for shard in manifest.shards[::2]:
        for path in (out / shard.name, out / shard.index_name):
            path.unlink()
    flip(out / manifest.shards[1].name, 8 * in_image(out, manifest.shards[1].name, 1))
    done = repair(out)
    assert done.whole
    assert done.rebuilt[manifest.shards[1].name] == 1
    assert contents(out) == before


def test_metadata_from_a_list_comes_back_with_the_samples(tmp_path: Path) -> None:
    lines = ["path,label,caption"]
    for number in range(12):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
        lines.append(f"{number}.jpg,{number % 2},number {number}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    config = ImageList.Config(path=str(tmp_path / "list.csv"), image="path", label="label", metadata=("caption",))
    pack_into(tmp_path / "out", config.build(), samples_per_shard=4)
    before = contents(tmp_path / "out")
    assert b"number 7" in before["train-000001.tar"]
    for path in (tmp_path / "out").glob("train-000001.*"):
        path.unlink()
    assert repair(tmp_path / "out").whole
    assert contents(tmp_path / "out") == before
