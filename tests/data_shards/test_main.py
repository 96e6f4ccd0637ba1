"""`python -m data_shards`: what it prints, its exit codes, and that it needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest

from data_shards import readers
from data_shards import verify as verify_module
from data_shards.__main__ import main
from data_shards.errors import ShardError, UserError
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from tests.data_shards.pictures import Listed, Thumbnail, contents, jpeg, listed, mixed, pack_into
from tests.data_shards.shard_sets import pack_whole


def test_inspect_tells_what_a_set_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack_into(
        tmp_path, Listed([*listed(8, test=2).images, ("x", "train", None, b"no image"), ("y", "train", None, jpeg(0))])
    )
    assert main(["inspect", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "12 listed, 10 accepted, 1 quarantined, 1 duplicates" in out
    assert "quarantined: 1 not_an_image" in out
    assert "train: 8 samples in 1 shards" in out
    assert "height   12 to 12, median 12 px" in out
    assert "formats  jpeg 100%" in out
    assert "labels   class0 3, class1 3, class2 2" in out


def test_verify_exits_with_one_names_the_damage_and_says_what_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_into(tmp_path, listed(4))
    assert main(["verify", str(tmp_path), "--decode"]) == 0
    assert capsys.readouterr().out == "every shard is whole\n"
    (tmp_path / "train-000000.tar").write_bytes(b"")
    assert main(["verify", str(tmp_path)]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("train-000000.tar: has 0 bytes")
    assert last == f"1 damaged. Next: python -m data_shards repair {tmp_path}"


def test_repair_tells_what_it_did_and_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = listed(12)
    pack_whole(tmp_path, reader, samples_per_shard=3)
    gone = Listed(reader.images[:3] + reader.images[4:])
    monkeypatch.setattr(readers, "reader_from", lambda fields: gone, raising=False)
    (tmp_path / "train-000000.tar").unlink()
    (tmp_path / "train-000001.tar").unlink()
    (tmp_path / "train-000002.tar").write_bytes((tmp_path / "train-000002.tar").read_bytes()[:-1024])
    (tmp_path / "train-000003.idx").unlink()
    (tmp_path / "other.tar").write_bytes(b"")
    assert main(["repair", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "train-000003.idx: written again",
        "train-000002.tar: rebuilt, from itself",
        "train-000000.tar: rebuilt, 3 samples from the source",
        "train-000001.tar: 000000003-0_3 cannot be had: its source no longer lists it",
        "other.tar: does not belong to the set; move it away; this cannot be repaired",
        f"To go on without: python -m data_shards repair {tmp_path} --drop",
    ]
    (tmp_path / "other.tar").unlink()
    assert main(["repair", str(tmp_path), "--drop"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train-000001.tar: 000000003-0_3 dropped: its source no longer lists it",
        "every shard is whole",
    ]
    assert main(["verify", str(tmp_path)]) == 0


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_an_interrupted_command_says_that_it_goes_on(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_into(tmp_path, listed(4))

    def interrupt(*_: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify_module, "reasons_in", interrupt)
    assert main([command, str(tmp_path)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted; the same command goes on where it stopped"


def test_the_quarantine_is_shown_and_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack_whole(tmp_path / "set", mixed())
    shown = []
    for words in ([], ["show"]):
        assert main(["quarantine", *words, str(tmp_path / "set"), "--reason", "truncated", "--limit", "2"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert len(shown[0].splitlines()) == 3 + 2 + 1
    assert main(["quarantine", "export", str(tmp_path / "set"), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"8 originals written to {tmp_path / 'out'}\n"
    assert main(["quarantine", str(tmp_path / "set"), "--export", str(tmp_path / "again")]) == 0
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_finish_calls_the_end_of_a_packing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    finish = types.ModuleType("data_shards.packing.finish")
    finish.finish = called.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "data_shards.packing.finish", finish)
    assert main(["finish", str(tmp_path)]) == 0
    assert called == [tmp_path]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_replay_prints_the_samples_the_loader_gives(
    world: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_into(tmp_path, listed(30), samples_per_shard=7)
    for step in range(9):
        assert main(["replay", str(tmp_path), f"step={step}", "batch=8", "seed=3", f"world={world}"]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        for rank in range(world):
            with Loader(ShardSet(tmp_path), Thumbnail(), batch=8, seed=3, rank=rank, world=world) as loader:
                loader.load_state_dict({"consumed": 8 * step})
                expected = next(iter(loader)).indices.tolist()
            assert [line["index"] for line in lines if line["rank"] == rank] == expected
    key, shard = lines[0]["key"], lines[0]["shard"]
    assert f"{key}.jpg".encode() in (tmp_path / shard).read_bytes()


def test_replay_counts_the_batches_that_begin_in_an_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack_into(tmp_path, listed(30))
    printed = []
    for words in (["step=5"], ["epoch=1", "step=1"]):  # batch 4 begins at 32, the first in epoch 1
        main(["replay", str(tmp_path), *words, "batch=8"])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_replay_needs_no_tars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack_into(tmp_path, listed(4))
    (tmp_path / "train-000000.tar").write_bytes(b"")
    assert main(["replay", str(tmp_path), "batch=2"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["key"] is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["inspect", "DIR/nowhere"], "there is no such directory; give the directory that `shard` wrote"),
        (["verify", "DIR/nowhere"], "there is no such directory"),
        (["repair", "DIR/nowhere"], "there is no such directory"),
        (["quarantine", "DIR/nowhere"], "there is no such directory"),
        (["quarantine", "export", "DIR"], "write quarantine [show] DIR, quarantine export DIR FOLDER, or"),
        (["quarantine", "show", "DIR", "x"], "write quarantine [show] DIR, quarantine export DIR FOLDER, or"),
        (["quarantine", "DIR", "--reason", "x"], "nothing was quarantined as 'x'"),
        (["replay", "DIR"], "batch: not given; give the global batch size"),
        (["replay", "DIR", "bach=3"], "bach=3: is no setting of replay; settings are seed="),
        (["replay", "DIR", "batch=many"], "batch: 'many' is no number"),
        (["replay", "DIR", "batch=0"], "batch: 0 is too small; give at least 1"),
        (["replay", "DIR", "batch=3", "world=2"], "batch: 3 samples cannot be shared equally by 2 processes"),
        (["replay", "DIR", "batch=2", "split=val"], "has no split 'val'; it has train"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_two(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_into(tmp_path, listed(4))
    assert main([word.replace("DIR", str(tmp_path)) for word in words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_commands_import_no_torch(tmp_path: Path) -> None:
    pack_into(tmp_path, listed(4))
    code = (
        "import sys; from data_shards.__main__ import main; import data_shards.pack, data_shards.readers;"
        f"main(['inspect', {str(tmp_path)!r}]); main(['verify', {str(tmp_path)!r}]);"
        "assert not {'torch', 'webdataset', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_error_reads_as_one_sentence_with_its_cure() -> None:
    assert (
        str(UserError("a.yaml", "has no source", "name one", "make help"))
        == "a.yaml: has no source; name one. Next: make help"
    )
    assert str(ShardError("x", "is gone", "bring it back")) == "x: is gone; bring it back."
