"""The stage `features` and its reader: what lies there, that nothing is made twice, one process against two."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data_shards.errors import SampleRateError
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from pipeline.artifacts import Artifact
from pipeline.errors import ArtifactError, RunError
from pipeline.evaluation.compute import Compute
from pipeline.evaluation.feature_sets.feature_set import FeatureSet
from pipeline.evaluation.features import Features, extract
from pipeline.released import backbones
from pipeline.stages import chain
from pipeline.stages.features import Config
from pipeline.stages.stage import execute
from tests.commands import kill_when, run, started
from tests.pipeline.evaluation.extracted import BROKEN, checkpoint, shards

TAPS = ("average", "res2 pool 2x1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, FeatureSet]]:
    """Features of 60 and 22 samples in files of 24."""
    folder, threads = tmp_path_factory.mktemp("features"), torch.get_num_threads()
    torch.set_num_threads(1)  # what is compared to the bit is computed by one thread
    config = Config(
        out=str(folder / "features"),
        shards=str(shards(folder / "shards")),
        checkpoint=str(checkpoint(folder / "checkpoint")),
        taps=TAPS,
        part=24,
        compute=Compute(batch=8),
        max_bad=1.0,
    )
    yield config, FeatureSet(execute("features", config))
    torch.set_num_threads(threads)


def plain(config: Config, split: str) -> Features:
    """The same features by the simplest way: one loader, one call."""
    source = Artifact.load(config.checkpoint)
    with Loader(ShardSet(config.shards, split), backbones.view(source).build(), batch=8, shuffle=False) as loader:
        return extract(backbones.load(source), loader)


def test_rows_are_the_backbones_own_in_order_without_what_cannot_be_decoded(made: tuple[Config, FeatureSet]) -> None:
    config, found = made
    assert found.splits == ("train", "test")
    assert found.taps == {"average": 16, "res2 pool 2x1": 16}
    assert (found.rows("train"), found.rows("test")) == (58, 22)
    assert found.read("train").indices.tolist() == [n for n in range(60) if n not in BROKEN]
    assert found.labels("train").tolist() == [-1 if n % 10 == 9 else n % 3 for n in range(60) if n not in BROKEN]
    for split in found.splits:
        for ours, theirs in zip(found.read(split), plain(config, split), strict=True):
            torch.testing.assert_close(ours, theirs)
    assert found.artifact.figures == {"samples_train": 58.0, "samples_test": 22.0, "left_out": 2.0}


def test_a_split_is_cut_into_files_of_bounded_size_and_read_in_chunks_of_any(made: tuple[Config, FeatureSet]) -> None:
    config, found = made
    files = sorted(path.name for path in (Path(config.out) / "train").glob("*.npz"))
    assert files == [f"part-0000{n}-of-00003.npz" for n in range(3)]
    whole = found.read("train", TAPS[1])
    for rows, start, stop in ((None, 0, None), (7, 0, None), (7, 3, 55), (100, 22, 23), (None, 24, 48), (5, 58, 99)):
        chunks = list(found.chunks("train", TAPS[1], rows=rows, start=start, stop=stop))
        assert all(len(chunk.labels) <= (rows or 24) for chunk in chunks)
        expected = [column[start:stop] for column in whole]
        got = [torch.cat(column) for column in zip(*chunks, strict=True)] if chunks else [c[:0] for c in whole]
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True)), (rows, start, stop)
    assert len(found.read("train", start=58).labels) == 0


def test_keys_name_the_samples(made: tuple[Config, FeatureSet]) -> None:
    config, found = made
    shard_set = ShardSet(config.shards, "train")
    expected = [shard_set.key(n // 16, n % 16) for n in range(60) if n not in BROKEN]
    assert found.keys("train") == expected


def test_bad_samples_are_listed_under_their_index(made: tuple[Config, FeatureSet]) -> None:
    lines = [json.loads(line) for line in (Path(made[0].out) / "bad_samples.jsonl").read_text().splitlines()]
    assert [(line["position"], line["reason"]) for line in lines] == [(5, "truncated"), (17, "truncated")]
    assert all(str(line["position"]) in line["key"] for line in lines)


def test_parts_that_verify_are_kept_and_the_others_made_again(made: tuple[Config, FeatureSet]) -> None:
    config, found = made
    folder = Path(config.out)
    files = {path: path.stat().st_mtime_ns for path in folder.glob("*/part-*.npz")}
    gone, changed, unlisted = sorted(files)[:3]
    gone.unlink()
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    unlisted.with_suffix(".json").unlink()
    (folder / "artifact.json").unlink()  # as a kill leaves it
    again = execute("features", config)
    assert again.content == found.artifact.content
    kept = {path for path, before in files.items() if path.stat().st_mtime_ns == before}
    assert kept == set(files) - {gone, changed, unlisted}
    assert FeatureSet(again).read("train").indices.tolist() == found.read("train").indices.tolist()


def test_two_processes_make_the_files_of_one(
    made: tuple[Config, FeatureSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config, found = made
    words = [
        f"shards={config.shards}",
        f"checkpoint={config.checkpoint}",
        f"out={tmp_path / 'two'}",
        "taps=[average, res2 pool 2x1]",
        "part=24",
        "max_bad=1.0",
        "compute.batch=8",
        "compute.devices=2",
    ]
    done = run("features", *words)
    assert done.status == 0, done.errors
    two = Artifact.load(tmp_path / "two")
    assert two.content == found.artifact.content
    assert two.fingerprint == found.artifact.fingerprint
    assert two.files == found.artifact.files
    assert done.output.count("left out") == 1, "one process prints the table"


@pytest.mark.slow
def test_a_kill_loses_no_file_that_is_whole(
    made: tuple[Config, FeatureSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config = replace(made[0], taps=("average",), part=1, compute=Compute(batch=1))
    undisturbed = execute("features", replace(config, out=str(tmp_path / "undisturbed")))
    out = tmp_path / "killed"
    words = [f"shards={config.shards}", f"checkpoint={config.checkpoint}", f"out={out}", "part=1", "compute.batch=1"]
    command = ("features", *words, "max_bad=1.0")
    assert kill_when(started(*command), lambda: len(list(out.glob("train/*.json"))) >= 4).status == -9
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*.json")}
    assert 4 <= len(before) < 82
    done = run(*command)
    assert done.status == 0, done.errors
    assert {path for path, time in before.items() if path.stat().st_mtime_ns == time} == set(before)
    assert Artifact.load(out).content == undisturbed.content
    assert Artifact.load(out).files == undisturbed.files


def test_the_content_does_not_depend_on_batches_or_files(made: tuple[Config, FeatureSet], tmp_path: Path) -> None:
    config, found = made
    changed = replace(config, out=str(tmp_path / "out"), part=7, compute=Compute(batch=4))
    again = execute("features", changed)
    assert again.fingerprint == found.artifact.fingerprint
    torch.testing.assert_close(FeatureSet(again).read("train"), found.read("train"))
    assert torch.equal(FeatureSet(again).labels("train"), found.labels("train"))


def test_parquet_in_half_precision_opens_with_pyarrow_alone(made: tuple[Config, FeatureSet], tmp_path: Path) -> None:
    config, found = made
    folder = tmp_path / "name=odd"
    settings = replace(config, out=str(folder), format="parquet", dtype="fp16", splits=("test",))
    halved = FeatureSet(execute("features", settings))
    table = pq.ParquetFile(folder / "test" / "part-00000-of-00001.parquet").read()
    assert table.column_names == ["index", "label", "key", *TAPS]
    vectors = np.stack(table.column("res2 pool 2x1").to_pylist())
    expected = found.read("test", TAPS[1])
    np.testing.assert_array_equal(vectors, expected.features.numpy().astype(np.float16))
    for ours, theirs in zip(halved.read("test", TAPS[1]), expected, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert halved.keys("test") == found.keys("test")


def test_the_untrained_network_is_another_run_with_other_features(
    made: tuple[Config, FeatureSet], tmp_path: Path
) -> None:
    config, found = made
    other = execute("features", replace(config, out=str(tmp_path / "out"), start="scratch", seed=1, splits=("test",)))
    assert other.content != found.artifact.content
    same = execute("features", replace(config, out=str(tmp_path / "same"), start="scratch", seed=0, splits=("test",)))
    assert torch.equal(FeatureSet(same).read("test").features, found.read("test").features), "the checkpoint was seed 0"


def test_what_is_asked_for_in_vain_is_named(made: tuple[Config, FeatureSet], tmp_path: Path) -> None:
    config, found = made
    with pytest.raises(ArtifactError, match="holds no features of tap 'avrage'; did you mean 'average'"):
        found.read("test", "avrage")
    with pytest.raises(ArtifactError, match="holds no features of split 'val'; it has train, test"):
        found.rows("val")
    with pytest.raises(RunError, match="tap 'res5 max': the network has the stages res2 to res3"):
        execute("features", replace(config, out=str(tmp_path / "a"), taps=("res5 max",)))


def test_too_many_broken_pictures_stop_it(made: tuple[Config, FeatureSet], tmp_path: Path) -> None:
    poor = shards(tmp_path / "shards", broken=range(10, 30))
    with pytest.raises(SampleRateError, match="cannot be decoded"):
        execute("features", replace(made[0], shards=str(poor), out=str(tmp_path / "out"), max_bad=0.1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"splits": ()}, "at least one split"),
        ({"splits": ("../x",)}, "a plain name"),
        ({"taps": ("res4",)}, "is no tap"),
        ({"part": 0}, "part must be"),
    ],
)
def test_a_recipe_that_means_nothing_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Config(**change)  # type: ignore[arg-type]


def test_features_that_are_gone_are_said(made: tuple[Config, FeatureSet]) -> None:
    path = Path(made[0].out) / "test" / "part-00000-of-00001.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    try:
        with pytest.raises(ArtifactError, match="is missing or has changed; run `features` again"):
            FeatureSet.at(made[0].out)
        with pytest.raises(ArtifactError, match="cannot be read"):
            made[1].read("test")
    finally:
        path.write_bytes(whole)


def test_a_chain_hands_features_to_the_stages_that_take_them(tmp_path: Path) -> None:
    recipe = tmp_path / "chain.yaml"
    recipe.write_text("stages: [{pretrain: null}, {features-all: null}, {knn: null}, {retrieval: null}]")
    _, links = chain.load(str(recipe), [f"out={tmp_path / 'runs'}"])
    configs = {link.run: link.config for link in links}
    assert configs["features-all"].checkpoint == str(tmp_path / "runs" / "pretrain")
    assert configs["knn"].features == configs["retrieval"].features == str(tmp_path / "runs" / "features-all")
