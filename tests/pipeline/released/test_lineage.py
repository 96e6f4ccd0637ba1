"""What is behind a checkpoint is found by content, down to the shards, and nothing of this machine goes with it."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.artifacts import Artifact
from pipeline.released.lineage import ancestry, licences
from tests.data_shards.pictures import listed, pack_into


def run(path: Path, content: str, reads: dict[str, tuple[Path, str, str]], **more: object) -> Artifact:
    """A finished run; `reads` are path, kind and content."""
    path.mkdir()
    artifact = Artifact(
        stage=path.name,
        kind="checkpoint",
        fingerprint=f"asked {content}",
        content=content,
        inputs={key: {"path": str(p), "kind": kind, "content": c} for key, (p, kind, c) in reads.items()},
        path=path,
        **more,  # type: ignore[arg-type]
    )
    artifact.save()
    return artifact


def chain(folder: Path) -> Artifact:
    """Shards, a fetched network, and one fine-tuned from it."""
    manifest = pack_into(folder / "shard", listed(4))
    source = {"from": str(folder / "rg32.torch"), "sha256": "ab" * 32, "modified": 7, "licence": "research only"}
    run(folder / "fetch", "fetched", {}, facts={"source": source}, figures={"tensors": 400.0})
    reads = {
        "shards": (folder / "shard", "shards", manifest.root),
        "checkpoint": (folder / "fetch", "checkpoint", "fetched"),
    }
    return run(folder / "finetune", "tuned", reads, figures={"accuracy": 0.9})


def test_every_artifact_behind_a_checkpoint_is_found_once_and_after_its_readers(tmp_path: Path) -> None:
    tuned = chain(tmp_path)
    manifest_root = tuned.inputs["shards"]["content"]
    again = {
        "shards": (tmp_path / "shard", "shards", manifest_root),
        "checkpoint": (tmp_path / "finetune", "checkpoint", "tuned"),
    }
    ancestors = ancestry(run(tmp_path / "again", "again", again))
    assert [a.content for a in ancestors][:3] == ["again", "tuned", "fetched"]
    assert ancestors[3].manifest is not None
    assert ancestors[3].content == ancestors[3].manifest.root == manifest_root
    assert len(ancestors) == 4
    assert licences(ancestors) == ["research only"]


def test_nothing_of_this_machine_is_told(tmp_path: Path) -> None:
    text = json.dumps([ancestor.to_mapping() for ancestor in ancestry(chain(tmp_path))])
    assert str(tmp_path) not in text
    assert '"from": "rg32.torch", "sha256": "abab' in text
    assert "modified" not in text
    assert "tensors" not in text, "counts are no figures of the network"
    assert '"accuracy": 0.9' in text


def test_runs_that_were_moved_together_are_found(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    chain(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    ancestors = ancestry(Artifact.load(tmp_path / "there" / "finetune"))
    assert [a.stage for a in ancestors if a.kind == "checkpoint"] == ["finetune", "fetch"]
    assert [a.manifest is not None for a in ancestors if a.kind == "shards"] == [True]


def test_what_was_made_anew_since_is_not_taken_for_what_was_read(tmp_path: Path) -> None:
    tuned = chain(tmp_path)
    (tmp_path / "fetch").rename(tmp_path / "old")
    run(tmp_path / "fetch", "fetched later", {})
    found = {a.content: a.stage for a in ancestry(tuned)}
    assert found["fetched"] == ""
    assert "fetched later" not in found
