"""The manifest: it comes back as it was saved, and says what is wrong with one that is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data_shards.errors import ShardError
from data_shards.manifest import FILE, Manifest, Shard

MANIFEST = Manifest(
    shards=(Shard("train-000000.tar", "train", 3, 4096, "ab", 0), Shard("test-000000.tar", "test", 2, 2048, "cd", 0)),
    classes=("cat", "dog"),
    totals={"listed": 6, "accepted": 5, "quarantined": 1, "duplicates": 0},
    source={"name": "image_folder", "path": "pictures"},
    settings={"check": "strict"},
    reasons={"truncated": 1},
    duplicates={"exact": 0},
    traits={"progressive": 2},
    lineage=[{"root": "ef", "done": "repair --drop", "lost": 1}],
)


def test_a_manifest_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    MANIFEST.save(tmp_path)
    loaded = Manifest.load(tmp_path)
    assert loaded == MANIFEST
    assert loaded.root == MANIFEST.root == json.loads((tmp_path / FILE).read_text())["root"]
    assert loaded.splits == ("train", "test")
    assert (loaded.samples("train"), loaded.samples("test"), loaded.samples("val")) == (3, 2, 0)
    assert [path.name for path in tmp_path.iterdir()] == [FILE], "no temporary file stays"


def test_the_root_depends_on_shards_and_classes_and_on_nothing_else() -> None:
    assert replace(MANIFEST, source={}, settings={}, totals={}, traits={}, lineage=[]).root == MANIFEST.root
    assert replace(MANIFEST, classes=("dog", "cat")).root != MANIFEST.root
    assert replace(MANIFEST, shards=MANIFEST.shards[:1]).root != MANIFEST.root


def test_a_missing_damaged_edited_or_later_manifest_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"holds no manifest\.json; give the directory"):
        Manifest.load(tmp_path)
    with pytest.raises(ShardError, match="there is no such directory"):
        Manifest.load(tmp_path / "nowhere")
    (tmp_path / ".packing").mkdir()
    with pytest.raises(ShardError, match="not finished; run the same `shard` command again"):
        Manifest.load(tmp_path)
    path = tmp_path / FILE
    path.write_text("{")
    with pytest.raises(ShardError, match="cannot be read"):
        Manifest.load(tmp_path)
    MANIFEST.save(tmp_path)
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, "format": "data_shards/9"}))
    with pytest.raises(ShardError, match="has format 'data_shards/9'; this version reads 'data_shards/1'"):
        Manifest.load(tmp_path)
    path.write_text(json.dumps({**fields, "classes": ["cat"]}))
    with pytest.raises(ShardError, match="contradicts its own root hash"):
        Manifest.load(tmp_path)
    path.write_text(json.dumps({"format": "data_shards/1"}))
    with pytest.raises(ShardError, match="contradicts its own root hash"):
        Manifest.load(tmp_path)


def test_a_manifest_from_before_it_counted_duplicates_by_kind_is_read(tmp_path: Path) -> None:
    MANIFEST.save(tmp_path)
    fields = json.loads((tmp_path / FILE).read_text())
    for name in ("duplicates", "traits", "lineage"):
        del fields[name]
    (tmp_path / FILE).write_text(json.dumps(fields))
    assert Manifest.load(tmp_path) == replace(MANIFEST, duplicates={}, traits={}, lineage=[])
