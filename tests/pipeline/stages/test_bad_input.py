"""What a new user gets wrong: one clear sentence with the cure, exit status 2, no traceback, nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.artifacts import Artifact
from tests.commands import Done, run
from tests.data_shards.pictures import jpeg


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence with which a command line is refused."""
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    before, found, sentence = errors.partition("error: ")
    assert found
    assert not before or before.endswith("\n")  # lines of progress, on a slow machine
    return found + sentence


def test_a_missing_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    says = refused(capsys, "shard", f"source={tmp_path / 'nowhere'}", f"out={tmp_path / 'out'}")
    assert "there is no such folder" in says


def test_an_empty_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    says = refused(capsys, "shard", f"source={tmp_path / 'empty'}", f"out={tmp_path / 'out'}")
    assert str(tmp_path / "empty") in says


def test_a_folder_without_a_readable_image(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_text("<html>not found</html>")
    says = refused(capsys, "shard", f"source={folder}", f"out={tmp_path / 'out'}")
    assert "not_an_image" in says or "no photograph" in says or "unreadable" in says


def test_stages_in_the_wrong_order(
    capsys: pytest.CaptureFixture[str], chain: tuple[Path, Done], tmp_path: Path
) -> None:
    shards = chain[0] / "shard"
    says = refused(capsys, "probe", f"shards={shards}", f"checkpoint={shards}", f"out={tmp_path / 'out'}")
    assert "probe needs a checkpoint" in says
    assert "python -m pipeline pretrain" in says
    says = refused(capsys, "pretrain", f"shards={tmp_path / 'none'}", f"out={tmp_path / 'out'}")
    assert "pretrain needs shards" in says
    assert not (tmp_path / "out").exists()


def test_two_mistakes_are_both_named(capsys: pytest.CaptureFixture[str]) -> None:
    says = refused(capsys, "pretrain", "objective.prototypse=10", "trainer.batch=many")
    assert "2 mistakes" in says
    assert "did you mean prototypes?" in says
    assert "trainer.batch" in says


def test_a_batch_that_the_processes_cannot_share(capsys: pytest.CaptureFixture[str]) -> None:
    says = refused(capsys, "pretrain", "trainer.batch=100", "trainer.devices=3")
    assert "batch 100 cannot be shared by 3 processes; 99 can" in says


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pretrian"], "did you mean pretrain?"),
        (["shard", "--verbose"], "settings are given as key=value"),
        (["chain"], "no recipe was given"),
        (["pretrain", "configs/nothing.yaml"], "no such recipe"),
        (["pretrain", "model.size=regnety_123gf"], "regnety_12"),
    ],
)
def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert says in refused(capsys, *arguments)


def test_an_output_directory_of_another_config(
    capsys: pytest.CaptureFixture[str], chain: tuple[Path, Done], recipes: Path
) -> None:
    before = {p: p.stat().st_mtime_ns for p in (chain[0] / "shard").iterdir()}
    says = refused(capsys, "shard", str(recipes / "shard.yaml"), f"out={chain[0] / 'shard'}", "source.tile=24")
    assert "another config" in says
    assert "tile: 32 → tile: 24" in says
    assert {p: p.stat().st_mtime_ns for p in (chain[0] / "shard").iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["shard", "pretrain"])
def test_no_space_left_and_then_some(stage: str, chain: tuple[Path, Done], recipes: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let root mount a small disk")
    command = (stage, str(recipes / f"{stage}.yaml"), f"out={disk / 'run'}")
    if stage == "pretrain":
        command = (*command, f"shards={chain[0] / 'shard'}")
    try:
        full = run(*command)
        assert full.status == 2, full.errors
        assert "Traceback" not in full.errors
        assert "space" in full.errors
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        again = run(*command)
        assert again.status == 0, again.errors
        assert Artifact.load(disk / "run").content == Artifact.load(chain[0] / stage).content
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_loss_that_is_no_number(
    capsys: pytest.CaptureFixture[str], chain: tuple[Path, Done], recipes: Path, tmp_path: Path
) -> None:
    command = ("pretrain", str(recipes / "pretrain.yaml"), f"shards={chain[0] / 'shard'}", f"out={tmp_path / 'run'}")
    settings = ("optimizer.rate=1e30", "trainer.checkpoint_every=1 steps", "schedule.warmup=0", "trainer.max_skipped=3")
    says = refused(capsys, *command, *settings)
    assert "the last 3 steps had a gradient that is no number, and the loss is nan at step" in says
    assert "lower optimizer.rate" in says
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) >= 1, "what was good is kept"
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (("trainer.precision=fp16", "trainer.accelerator=cpu"), "use precision=bf16"),
        (("trainer.sharding=fsdp",), "use auto"),
        (("trainer.sync_batchnorm=3", "trainer.devices=2"), "sizes that fit are 1, 2"),
        (("trainer.recompute=[[1],[2]]",), "ends a group at block 2 of stage 2, which has 1 blocks"),
        (("optimizer.rate=0",), "rate must be"),
    ],
)
def test_what_cannot_be_trained_is_said_before_anything_is_written(
    words: tuple[str, ...],
    cure: str,
    capsys: pytest.CaptureFixture[str],
    chain: tuple[Path, Done],
    recipes: Path,
    tmp_path: Path,
) -> None:
    command = ("pretrain", str(recipes / "pretrain.yaml"), f"shards={chain[0] / 'shard'}", f"out={tmp_path / 'run'}")
    assert cure in refused(capsys, *command, *words)
    assert not (tmp_path / "run").exists()


def test_more_prototypes_than_a_batch_can_fill_are_doubted_once(
    capsys: pytest.CaptureFixture[str], chain: tuple[Path, Done], recipes: Path, tmp_path: Path
) -> None:
    command = ("pretrain", str(recipes / "pretrain.yaml"), f"shards={chain[0] / 'shard'}", f"out={tmp_path / 'run'}")
    assert main([*command, "objective.prototypes=100", "trainer.duration=1 steps", "trainer.watch_every=0 steps"]) == 0
    assert capsys.readouterr().out.count("100 are more than the 32 samples") == 1


def test_help_and_shard_start_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline.__main__ import main; status = main(['--help']) + main(['shard', '--help'])\n"
        f"main(['shard', 'source={tmp_path}/nowhere', 'out={tmp_path}/out'])\n"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    assert "pretrain" in done.stdout
    assert "samples_per_shard" in done.stdout


def test_a_url_for_a_run_directory(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    says = refused(capsys, "shard", f"source={tmp_path}", "out=s3://bucket/shards")
    assert "out is a directory on a disk, not s3://bucket/shards; shards go to a URL with to=s3://bucket/shards" in says


def test_a_directory_for_a_url(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    says = refused(capsys, "shard", f"source={tmp_path}", f"to={tmp_path / 'shards'}")
    assert "to is a URL" in says


def test_pictures_that_came_after_the_shards(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        (pictures / f"{number}.jpg").write_bytes(jpeg(number))
    arguments = ("shard", f"source={pictures}", f"out={tmp_path / 'out'}")
    assert main(arguments) == 0
    assert main(arguments) == 0
    assert "is up to date" in capsys.readouterr().out
    (pictures / "new.jpg").write_bytes(jpeg(9))
    says = refused(capsys, *arguments)
    assert "holds a finished shard set, but its source listed 3 images and now lists 4" in says


def test_a_set_that_is_excluded_and_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    says = refused(capsys, "shard", f"source={tmp_path}", f"out={tmp_path / 'out'}", f"exclude=[{tmp_path}]")
    assert "holds no manifest.json; give the directory that `shard` wrote" in says
