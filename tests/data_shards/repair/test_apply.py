"""What runs could not decode is taken out: the rest stays as it is, the books balance, and a kill costs nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data_shards.__main__ import main
from data_shards.errors import OutputError, ShardError, UserError
from data_shards.ledger import Ledger, entries
from data_shards.manifest import Manifest
from data_shards.quarantined import Originals, rejected
from data_shards.repair.apply import Applied, apply
from data_shards.repair.repair import repair
from data_shards.stream import ShardSet
from data_shards.verify import verify
from tests.data_shards.batches import load
from tests.data_shards.pictures import Listed, broken_jpeg, contents, encode, jpeg, pack_into, pixels
from tests.data_shards.repair.test_repair import Killed, crash_at

BAD = {5, 6, 17, *range(30, 40)}  # all of the last shard


def image(number: int) -> bytes:
    if number in BAD:
        return broken_jpeg(number)
    return encode(pixels(number), quality=90, progressive=True) if number % 2 else jpeg(number)


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    """40 samples in shards of 10, and one image that packing rejected; 13 samples cannot be decoded."""
    rows = [(f"{n % 3}/{n}.jpg", "train", str(n % 3), image(n)) for n in range(40)]
    rows.append(("page.jpg", "train", "0", b"<html>"))
    rows += [(f"t{n}.jpg", "test", "1", jpeg(100 + n)) for n in range(3)]
    pack_into(tmp_path / "holed", Listed(rows), samples_per_shard=10, probe="header")
    return tmp_path / "holed"


@pytest.fixture
def ledger(holed: Path, tmp_path: Path) -> Path:
    """The directory of a run that has met all of them, in two processes."""
    folder = tmp_path / "run"
    folder.mkdir()
    for rank in range(2):
        load(holed, 10, batch=8, rank=rank, world=2, ledger=Ledger.of_run(folder, rank, max_rate=1))
    return folder


def images_in(directory: Path, split: str = "train") -> list[bytes]:
    shard_set = ShardSet(directory, split)
    return [shard_set.image(index) for index in range(shard_set.samples)]


def check(directory: Path, before: Manifest) -> None:
    """It holds the good ones in their order; the bad ones are in the quarantine; everything adds up."""
    after = Manifest.load(directory)
    assert verify(directory, decode=True) == []
    assert images_in(directory) == [image(n) for n in range(40) if n not in BAD]
    assert [shard.samples for shard in after.shards] == [8, 9, 10, 3]
    assert after.totals == before.totals | {"accepted": 30, "quarantined": 14}
    assert after.reasons == {"not_an_image": 1, "truncated": 13}
    assert after.traits == {"progressive": 13}
    assert after.classes == before.classes
    entry = after.lineage[-1]
    assert (entry["root"], entry["done"], entry["lost"]) == (before.root, "quarantine apply", 13)
    assert entry["shards"] == ["train-000000.tar", "train-000001.tar", "train-000003.tar"]
    originals, lines = Originals(directory), [r for r in rejected(directory) if r.reason == "truncated"]
    assert [line.number for line in lines] == sorted(BAD)
    assert [originals.read(line) for line in lines] == [image(n) for n in sorted(BAD)]
    assert {line.source for line in lines} == {f"{n % 3}/{n}.jpg" for n in BAD}
    originals.close()
    listed = json.loads((directory / "train.wids.json").read_text())["shardlist"]
    assert [shard["nsamples"] for shard in listed] == [8, 9, 10]
    assert not (directory / ".repair").exists()


@pytest.mark.parametrize("new", [True, False])
def test_samples_that_a_run_met_are_taken_out(holed: Path, ledger: Path, tmp_path: Path, new: bool) -> None:
    before, bytes_before = Manifest.load(holed), contents(holed)
    target = tmp_path / "out" if new else holed
    done = apply(holed, [ledger], target if new else None)
    assert (done.reasons, done.already, done.root) == ({"truncated": 13}, 0, Manifest.load(target).root)
    check(target, before)
    if new:
        assert contents(holed) == bytes_before
        assert (target / "train-000002.tar").samefile(holed / "train-000002.tar")
    again = apply(holed, [ledger], target if new else None)
    assert (again.reasons.total(), again.already, again.root) == (0, 0 if new else 13, done.root)
    check(target, before)
    assert list(load(target, 10, batch=8, ledger=Ledger(max_rate=0)))


def test_what_is_left_in_place_is_repaired_and_applied_to_again(holed: Path, ledger: Path, tmp_path: Path) -> None:
    apply(holed, [ledger])
    second = Ledger(tmp_path / "second.jsonl")
    line = next(entry for entry in entries(ledger / "bad_samples.jsonl"))
    good = ShardSet(holed)
    for shard, sample in ((0, 3), (2, 9)):
        key, digest = good.key(shard, sample), hashlib.sha256(good.read(shard, sample)).hexdigest()
        with open(second.path or "", "a") as file:
            file.write(json.dumps(line | {"shard": good.shards[shard].name, "key": key, "hash": digest}) + "\n")
    done = apply(holed, [second.path or Path(), ledger / "bad_samples.jsonl"])
    assert done.reasons == {"truncated": 2}
    assert 0 < done.already <= 13
    assert verify(holed) == []
    assert len(Manifest.load(holed).lineage) == 2
    assert repair(holed).whole


def on_another_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("data_shards.repair.apply.os.link", refuse)


def test_a_directory_on_another_disk_gets_copies(
    holed: Path, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_another_disk(monkeypatch)
    apply(holed, [ledger], tmp_path / "out")
    check(tmp_path / "out", Manifest.load(holed))
    assert not (tmp_path / "out/train-000002.tar").samefile(holed / "train-000002.tar")


def crashes(prepare: Callable[[], Any], run: Callable[[], Applied]) -> Iterator[int]:
    """Run again and again from the start, each time killed one durable step later, then to the end; gives the steps."""
    step = 1
    while True:
        prepare()
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, step)
            try:
                run()
                return
            except Killed:
                pass
        run()
        yield step
        step += 1


@pytest.mark.parametrize("copied", [False, True])
def test_killed_at_any_step_the_same_command_makes_the_new_set(
    holed: Path, ledger: Path, tmp_path: Path, copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if copied:
        on_another_disk(monkeypatch)
    apply(holed, [ledger], tmp_path / "once")
    out, expected, before = tmp_path / "out", contents(tmp_path / "once"), contents(holed)
    steps = 0
    for steps in crashes(lambda: shutil.rmtree(out, ignore_errors=True), lambda: apply(holed, [ledger], out)):
        assert contents(out) == expected, f"after a kill at step {steps}"
    assert steps > 25
    assert contents(holed) == before


def test_killed_at_any_step_the_same_command_changes_the_set(holed: Path, ledger: Path, tmp_path: Path) -> None:
    set_, once = tmp_path / "set", tmp_path / "once"

    def prepare() -> None:
        shutil.rmtree(set_, ignore_errors=True)
        shutil.copytree(holed, set_)

    prepare()
    set_.rename(once)
    apply(once, [ledger])
    expected, steps = contents(once), 0
    for steps in crashes(prepare, lambda: apply(set_, [ledger])):
        assert contents(set_) == expected, f"after a kill at step {steps}"
    assert steps > 20


def test_a_ledger_of_another_set_changes_nothing(holed: Path, ledger: Path, tmp_path: Path) -> None:
    lines = [entry for path in sorted(ledger.iterdir()) for entry in entries(path)]
    wrong = {
        "another root": ({"root": "00"}, f"none of {len(lines)} lines speaks of it"),
        "another key": ({"root": None, "key": "000000099-x"}, "holds no sample '000000099-x' in 'train-00000"),
        "another shard": ({"root": None, "shard": "../x.tar"}, "holds no sample '0.*' in '../x.tar'"),
        "another hash": ({"root": None, "hash": "00"}, "is not the one that the ledger names"),
    }
    before = contents(holed)
    for name, (change, message) in wrong.items():
        path = tmp_path / name
        path.write_text("".join(json.dumps(line | change) + "\n" for line in lines))
        for out in (None, tmp_path / "out"):
            with pytest.raises(ShardError, match=message):
                apply(holed, [path], out)
    assert contents(holed) == before
    mixed = tmp_path / "mixed"
    mixed.write_text(
        "".join(json.dumps(line | {"root": "00" if n else line["root"]}) + "\n" for n, line in enumerate(lines))
    )
    assert apply(holed, [mixed]).others == len(lines) - 1


def test_a_damaged_shard_is_repaired_first(holed: Path, ledger: Path) -> None:
    content = bytearray((holed / "train-000001.tar").read_bytes())
    content[600] ^= 1
    (holed / "train-000001.tar").write_bytes(content)
    with pytest.raises(ShardError, match=r"train-000001.tar: its bytes are not those .*; repair it first"):
        apply(holed, [ledger])
    (holed / "train-000001.tar").unlink()
    with pytest.raises(ShardError, match=r"train-000001.tar: is missing"):
        apply(holed, [ledger])


def test_a_directory_that_holds_something_else_is_refused(holed: Path, ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("kept")
    pack_into(tmp_path / "other", Listed([("a", "train", None, jpeg(1))]))
    for out, message in ((holed, "is the set itself"), ("mine", "is not empty"), ("other", "holds another shard set")):
        with pytest.raises(OutputError, match=message):
            apply(holed, [ledger], tmp_path / out)
    with pytest.raises(OutputError, match="cannot be written"):
        apply(holed, [ledger], tmp_path / "mine/notes.txt/x")
    with pytest.raises(UserError, match="holds no ledger"):
        apply(holed, [tmp_path / "mine"], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["notes.txt"]


def test_a_set_of_which_nothing_would_be_left_stays(tmp_path: Path) -> None:
    pack_into(tmp_path / "set", Listed([("a", "train", None, broken_jpeg(1))]), probe="header")
    shards, path = ShardSet(tmp_path / "set"), tmp_path / "bad.jsonl"
    digest = hashlib.sha256(shards.read(0, 0)).hexdigest()
    path.write_text(json.dumps({"shard": "train-000000.tar", "key": shards.key(0, 0), "hash": digest, "reason": "x"}))
    before = contents(tmp_path / "set")
    with pytest.raises(ShardError, match="nothing would be left"):
        apply(tmp_path / "set", [path])
    assert contents(tmp_path / "set") == before


def test_the_command_says_what_it_did(
    holed: Path, ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["quarantine", "apply", str(holed), str(ledger)]) == 2
    assert "give apply either --out DIR, for a new set, or --in-place" in capsys.readouterr().err
    assert main(["quarantine", "show", str(holed), "--in-place"]) == 2
    assert main(["quarantine", "apply", str(holed), "--in-place"]) == 2
    assert "quarantine apply DIR LEDGER... --out DIR" in capsys.readouterr().err
    assert main(["quarantine", "apply", str(holed), str(ledger), "--out", str(out)]) == 0
    root = Manifest.load(out).root
    assert capsys.readouterr().out == f"{out}: 13 samples taken out of 3 shards (13 truncated); root {root}\n"
    assert main(["quarantine", "apply", str(holed), str(ledger), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: nothing to take out; root {root}\n"
