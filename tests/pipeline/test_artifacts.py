"""Artifacts say what was asked for and what came of it, and errors about them name the cure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_shards.stream import ShardSet
from pipeline import artifacts
from pipeline.artifacts import Artifact, describe_files, fingerprint, shards_at
from pipeline.errors import ArtifactError
from tests.data_shards.pictures import listed, pack_into


def make(path: Path, **changes: object) -> Artifact:
    path.mkdir(exist_ok=True)
    (path / "weights.bin").write_bytes(b"1234")
    facts = {"stage": "pretrain", "kind": "checkpoint", "fingerprint": "f", "content": "c"} | changes
    artifact = Artifact(**facts, files=describe_files(path, ["weights.bin"]), path=path)  # type: ignore[arg-type]
    artifact.save()
    return artifact


def test_an_artifact_is_read_as_it_was_written(tmp_path: Path) -> None:
    artifact = make(tmp_path / "run", figures={"loss": 1.5}, facts={"classes": ["a", "b"]})
    assert Artifact.load(tmp_path / "run", "checkpoint") == artifact
    assert not list((tmp_path / "run").glob(".*tmp"))


def test_a_moved_run_directory_is_the_same_artifact(tmp_path: Path) -> None:
    artifact = make(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert Artifact.load(tmp_path / "elsewhere") == artifact


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"12345")])
def test_a_file_that_is_gone_or_cut_is_named(tmp_path: Path, damage: object) -> None:
    artifact = make(tmp_path / "run")
    assert artifact.damaged() == []
    damage(tmp_path / "run" / "weights.bin")  # type: ignore[operator]
    assert artifact.damaged() == ["weights.bin"]


def test_a_missing_input_says_which_stage_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"does not exist; probe needs a checkpoint.*set checkpoint=DIR.*pretrain"):
        Artifact.load(tmp_path / "none", "checkpoint", wanted_by="probe", key="checkpoint")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="holds no finished run"):
        Artifact.load(tmp_path / "empty", "checkpoint", wanted_by="probe", key="checkpoint")


def test_an_input_of_another_kind_says_what_it_is(tmp_path: Path) -> None:
    make(tmp_path / "run", kind="shards")
    with pytest.raises(ArtifactError, match=r"holds shards; probe needs a checkpoint"):
        Artifact.load(tmp_path / "run", "checkpoint", wanted_by="probe", key="checkpoint")


def test_another_format_and_a_cut_file_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "run")
    path = tmp_path / "run" / artifacts.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(ArtifactError, match="has format 99"):
        Artifact.load(tmp_path / "run")
    path.write_text(path.read_text()[:30])
    with pytest.raises(ArtifactError, match="cannot be read"):
        Artifact.load(tmp_path / "run")


def test_a_fingerprint_depends_on_config_and_inputs_but_not_on_their_order() -> None:
    one = fingerprint("probe", {"a": 1, "b": [1, 2]}, {"shards": "x", "checkpoint": "y"})
    assert one == fingerprint("probe", {"b": [1, 2], "a": 1}, {"checkpoint": "y", "shards": "x"})
    assert one != fingerprint("probe", {"a": 1, "b": [2, 1]}, {"shards": "x", "checkpoint": "y"})
    assert one != fingerprint("probe", {"a": 1, "b": [1, 2]}, {"shards": "x", "checkpoint": "z"})
    assert one != fingerprint("export", {"a": 1, "b": [1, 2]}, {"shards": "x", "checkpoint": "y"})


def test_shards_need_no_run_and_their_content_is_the_root_they_have_now(tmp_path: Path) -> None:
    out = tmp_path / "set"
    root = pack_into(out, listed(6), samples_per_shard=3).root
    assert shards_at(str(out), "train").content == root
    Artifact(stage="shard", kind="shards", fingerprint="f", content="as packed", path=out).save()
    assert (shards_at(str(out), "train").content, shards_at(str(out), "train").fingerprint) == (root, "f")


def test_tars_of_anyone_are_shards_and_nothing_else_is(tmp_path: Path) -> None:
    pack_into(tmp_path / "set", listed(6), samples_per_shard=3)
    plain = tmp_path / "plain"
    plain.mkdir()
    for tar in (tmp_path / "set").glob("*.tar"):
        tar.rename(plain / tar.name)
    contents = {shards_at(where, "train").content for where in (str(plain), f"{plain}/train-{{000000..000001}}.tar")}
    assert contents == {ShardSet(plain).manifest.root}
    for name in ("nowhere", "empty"):
        with pytest.raises(ArtifactError, match="pretrain needs shards; make it first or set shards=DIR"):
            shards_at(str(tmp_path / name), "train", wanted_by="pretrain", key="shards")
        (tmp_path / "empty").mkdir(exist_ok=True)
