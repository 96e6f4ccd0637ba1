"""Verifying a shard set names every damaged file, and only those; an interrupted pass is gone on with."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_shards import verify as module
from data_shards.checking.damage import Damage
from data_shards.checking.verified import FILE
from data_shards.errors import ShardError, UserError
from data_shards.manifest import Manifest
from data_shards.verify import verify
from tests.data_shards.pictures import Listed, broken_jpeg, contents, jpeg, listed, mixed, pack_into
from tests.data_shards.shard_sets import pack_whole


def test_a_whole_set_has_no_damage(tmp_path: Path) -> None:
    pack_whole(tmp_path, mixed(), samples_per_shard=4)
    before = contents(tmp_path)
    assert verify(tmp_path) == verify(tmp_path, decode=True) == []
    assert contents(tmp_path) == before, "a whole pass leaves nothing behind"


def test_slices_each_have_their_quarantine_even_one_without_bytes(tmp_path: Path) -> None:
    class Faulty(Listed):
        def read(self, entry: Any) -> bytes:
            if 10 <= entry.location < 20:
                raise FileNotFoundError
            return super().read(entry)

    pack_whole(tmp_path, Faulty(mixed(60).images), images_per_slice=10, max_bad=1.0)
    empty = tmp_path / "quarantine/images-000001.tar"
    assert empty.read_bytes() == bytes(1024)
    assert verify(tmp_path) == []
    empty.write_bytes(bytes(1000) + b"x" + bytes(23))
    assert [damage.shard for damage in verify(tmp_path)] == ["quarantine/images-000001.tar"]


def test_every_kind_of_damage_is_named(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(12), samples_per_shard=2)
    shard = [tmp_path / f"train-00000{n}.tar" for n in range(6)]
    flipped = bytearray(shard[0].read_bytes())
    flipped[700] ^= 1
    shard[0].write_bytes(flipped)
    shard[1].write_bytes(shard[1].read_bytes()[:-600])
    shard[2].unlink()
    shard[3].with_suffix(".idx").unlink()
    shard[4].with_suffix(".idx").write_text("v1.2 0\n")
    assert verify(tmp_path) == [
        Damage(shard[0].name, "its bytes are not those that were packed (hash)"),
        Damage(shard[0].name, "sample 000000000-0_0: its image is not the one of its metadata (sha256)"),
        Damage(
            shard[1].name, f"has {shard[1].stat().st_size} bytes, the manifest says {shard[1].stat().st_size + 600}"
        ),
        Damage(shard[2].name, "is missing"),
        Damage(shard[3].name, "its .idx is missing (readers then walk the tar)"),
        Damage(shard[4].name, "its .idx is not the index of this tar"),
    ]


def test_no_flip_cut_growth_or_deletion_goes_unseen(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    pack_whole(whole, mixed(), samples_per_shard=10)
    files = [name for name in contents(whole) if name.endswith((".tar", ".idx"))]
    assert any(name.startswith("quarantine/") for name in files)
    moments = random.Random(0)
    for trial in range(400):
        name = moments.choice(files)
        path = whole / name
        content = path.read_bytes()
        kind = moments.choice(["flip"] * 5 + ["cut", "grow", "delete"])
        if kind == "flip":
            place = moments.randrange(8 * len(content))
            changed = bytearray(content)
            changed[place // 8] ^= 1 << place % 8
            path.write_bytes(changed)
        elif kind == "cut":
            path.write_bytes(content[: moments.randrange(len(content))])
        elif kind == "grow":
            path.write_bytes(content + bytes(moments.choice([1, 512])))
        else:
            path.unlink()
        found = verify(whole)
        assert {damage.shard for damage in found} == {name.replace(".idx", ".tar")}, (trial, kind, name, found)
        path.write_bytes(content)
    assert verify(whole) == []


def test_decoding_finds_images_that_were_bad_before_they_were_packed(tmp_path: Path) -> None:
    rows = [("a", "train", None, jpeg(1)), ("b", "train", None, broken_jpeg(2)), ("c", "train", None, jpeg(3))]
    pack_into(tmp_path, Listed(rows), probe="header")
    assert verify(tmp_path) == []
    assert verify(tmp_path, decode=True) == [Damage("train-000000.tar", "sample 000000001-b: its image is truncated")]


def edited(change: Callable[[Manifest], Manifest]) -> Callable[[Path], None]:
    """Writes another manifest, with a root of its own."""
    return lambda directory: change(Manifest.load(directory)).save(directory)


def without_last_line(name: str) -> Callable[[Path], None]:
    def cut(directory: Path) -> None:
        lines = (directory / name).read_bytes().splitlines(keepends=True)
        (directory / name).write_bytes(b"".join(lines[:-1]))

    return cut


def shifted(manifest: Manifest) -> Manifest:
    return replace(
        manifest, shards=tuple(replace(s, first_index=s.first_index + (s.samples < 10)) for s in manifest.shards)
    )


@pytest.mark.parametrize(
    ("damage", "file", "words"),
    [
        (edited(lambda m: replace(m, totals={**m.totals, "listed": 41})), "manifest.json", "says 41 listed"),
        (edited(lambda m: replace(m, totals={**m.totals, "accepted": 27})), "manifest.json", "says 27 accepted"),
        (
            edited(lambda m: replace(m, reasons={"truncated": 8})),
            "quarantine/ledger.jsonl",
            "has 4 lines of 'truncated'",
        ),
        (edited(lambda m: replace(m, duplicates={"near": 4})), "duplicates.jsonl", "has 0 lines of 'near'"),
        (edited(lambda m: replace(m, duplicates={"exact": 5})), "manifest.json", "says 4 duplicates"),
        (edited(shifted), "manifest.json", "the first index"),
        (edited(lambda m: replace(m, classes=m.classes[1:])), "train-000000.tar", "is none of the classes"),
        (edited(lambda m: replace(m, classes=m.classes[::-1])), "train-000000.tar", "its members are not those"),
        (lambda d: (d / "train-000099.tar").write_bytes(b""), "train-000099.tar", "move it away"),
        (lambda d: (d / "quarantine/images-000009.tar").write_bytes(b""), "quarantine/images-000009.tar", "move it"),
        (lambda d: shutil.rmtree(d / "quarantine"), "quarantine/ledger.jsonl", "has 0 lines of 'not_an_image'"),
        (without_last_line("quarantine/ledger.jsonl"), "quarantine/images-000000.tar", "is not the next of the ledger"),
        (without_last_line("duplicates.jsonl"), "duplicates.jsonl", "has 3 lines of 'exact', the manifest says 4"),
        (lambda d: (d / "duplicates.jsonl").write_text("{\n"), "duplicates.jsonl", "the line at byte 0 is damaged"),
    ],
)
def test_books_that_do_not_agree_are_named(damage: Any, file: str, words: str, tmp_path: Path) -> None:
    pack_whole(tmp_path, mixed(), samples_per_shard=10)
    damage(tmp_path)
    assert any(found.shard == file and words in found.reason for found in verify(tmp_path))


class Counted:
    """Counts the files that are read, and interrupts the pass before one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, stop: int | None = None) -> None:
        self.names: list[str] = []
        self.stop, self.read = stop, module._read
        patch.setattr(module, "_read", self)
        patch.setattr(module, "cores", lambda: 1)

    def __call__(self, task: Any) -> Any:
        if len(self.names) == self.stop:
            raise KeyboardInterrupt
        self.names.append(task.name)
        return self.read(task)


def interrupted(directory: Path, after: int, **options: Any) -> list[str]:
    """The files that a pass reads before it is interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(patch, after)
        with pytest.raises(KeyboardInterrupt):
            verify(directory, **options)
    return counted.names


def read_by(directory: Path, **options: Any) -> tuple[list[str], list[Damage]]:
    """The files that a pass reads, and what it finds."""
    with pytest.MonkeyPatch.context() as patch:
        counted = Counted(patch)
        return counted.names, verify(directory, **options)


def test_an_interrupted_pass_reads_only_what_is_left_and_forgets_no_damage(tmp_path: Path) -> None:
    pack_whole(tmp_path, mixed(), samples_per_shard=4)
    (tmp_path / "train-000001.tar").write_bytes(b"")
    first = interrupted(tmp_path, 3)
    second = interrupted(tmp_path, 2)
    third, found = read_by(tmp_path)
    everything = [shard.name for shard in Manifest.load(tmp_path).shards] + ["quarantine/images-000000.tar"]
    assert first + second + third == everything
    assert [damage.shard for damage in found] == ["train-000001.tar"]
    assert read_by(tmp_path)[0] == everything, "a pass that was complete is begun again"
    assert read_by(tmp_path, again=False)[0] == [], "unless its findings are asked for"


def test_what_changed_since_it_was_read_is_read_again(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(12), samples_per_shard=3)
    assert interrupted(tmp_path, 3) == ["train-000000.tar", "train-000001.tar", "train-000002.tar"]
    (tmp_path / "train-000001.idx").write_bytes(b"")
    os.utime(tmp_path / "train-000002.tar")
    names, found = read_by(tmp_path)
    assert names == ["train-000001.tar", "train-000002.tar", "train-000003.tar"]
    assert [damage.shard for damage in found] == ["train-000001.tar"]


def test_a_pass_without_decoding_does_not_stand_for_one_with_it(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(6), samples_per_shard=3)
    interrupted(tmp_path, 1)
    assert len(interrupted(tmp_path, 1, decode=True)) == 1
    assert read_by(tmp_path)[0] == ["train-000001.tar"], "the other way round it does"


def test_what_was_read_counts_for_this_set_and_for_a_week(tmp_path: Path) -> None:
    pack_into(tmp_path / "set", listed(6), samples_per_shard=3)
    interrupted(tmp_path / "set", 1)
    shutil.copytree(tmp_path / "set", tmp_path / "copy")
    assert len(read_by(tmp_path / "copy")[0]) == 2
    state = tmp_path / "set" / FILE
    lines = [json.loads(line) for line in state.read_text().splitlines()]
    lines[1]["when"] -= 8 * 24 * 3600
    state.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert len(read_by(tmp_path / "set")[0]) == 2


@pytest.mark.parametrize("torn", [b"", b"{", b'{"root": "x"}\n', b"[]\n", b"\xff\n"])
def test_a_damaged_state_is_no_state(torn: bytes, tmp_path: Path) -> None:
    pack_into(tmp_path, listed(6), samples_per_shard=3)
    (tmp_path / FILE).write_bytes(torn)
    names, found = read_by(tmp_path)
    assert (len(names), found) == (2, [])


def test_a_read_only_set_is_remembered_in_the_cache_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_into(tmp_path / "set", listed(6), samples_per_shard=3)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    before = contents(tmp_path / "set")
    interrupted(tmp_path / "set", 1)
    assert contents(tmp_path / "set") == before
    assert len(contents(tmp_path / "cache")) == 1
    assert read_by(tmp_path / "set")[0] == ["train-000001.tar"]
    assert contents(tmp_path / "cache") == {}
    (tmp_path / "cache/data_shards").rmdir()
    (tmp_path / "cache/data_shards").write_text("in the way")
    assert len(read_by(tmp_path / "set")[0]) == 2, "without any place to write it is only not remembered"


def test_processes_find_what_threads_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_whole(tmp_path, mixed(), samples_per_shard=4)
    (tmp_path / "train-000001.tar").write_bytes(b"")
    (tmp_path / "train-000002.idx").unlink()
    (tmp_path / "quarantine/images-000000.tar").write_bytes(b"")
    by_threads = verify(tmp_path)
    monkeypatch.setattr(module, "_MANY_BYTES", 0)
    assert verify(tmp_path) == by_threads
    assert len(by_threads) == 3


def test_a_process_that_is_killed_is_a_sentence_and_the_pass_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_whole(tmp_path, mixed(), samples_per_shard=4)
    monkeypatch.setattr(module, "_MANY_BYTES", 0)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_read", killed)
        with pytest.raises(UserError, match="one of its processes was killed; free some memory and repeat"):
            verify(tmp_path)
    assert verify(tmp_path) == []


def test_no_worker_outlives_the_process_that_began_it() -> None:
    code = (
        "import os, time; from data_shards.verify import _pool\n"
        "if __name__ == '__main__':\n"
        "    pool = _pool(1 << 40)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(60)"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) != process.pid
        process.kill()
        assert process.communicate(timeout=30)[0] == "", "the pipe ends with the last process that holds it"


def killed(task: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def test_without_a_manifest_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"holds no manifest\.json"):
        verify(tmp_path)


def test_a_repair_that_was_not_finished_is_named(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(4))
    (tmp_path / ".repair").mkdir()
    (tmp_path / ".repair/manifest.json").write_text("")
    with pytest.raises(ShardError, match=r"a repair that was not finished; let it go on\. Next: .* repair .* --drop"):
        verify(tmp_path)
