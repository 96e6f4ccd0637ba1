"""What cannot be trained is said when a recipe is read, in one sentence that names the cure."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline import config
from pipeline.errors import ConfigError, TrainingError
from pipeline.stages.pretrain import Config
from pipeline.training import compiling, settings
from pipeline.training.settings import TrainerConfig


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"batch": 100, "devices": 3}, "batch 100 cannot be shared by 3 processes; 99 can"),
        ({"batch": 64, "devices": 2, "pieces": 5}, "32 images of each process .* 5 equal pieces; 2, 4, 8, 16, 32 can"),
        ({"precision": "fp16", "accelerator": "cpu"}, "fp16 is for GPUs; use precision=bf16"),
        ({"precision": "fp64", "reduce": "bf16"}, "use reduce=fp32"),
        ({"sharding": "fsdp"}, "sharding=fsdp is among several processes, but devices times nodes is 1; use auto"),
        ({"sharding": "ddp"}, "sharding=ddp is among several"),
        ({"sharding": "none", "devices": 2}, "sharding=none is for one process, not 2; ddp keeps all weights"),
        ({"sharding": "hsdp", "devices": 4}, "replicates across nodes, but nodes is 1; use fsdp"),
        ({"sharding": "hsdp", "nodes": 4}, "devices is 1; use ddp or fsdp"),
        (
            {"sync_batchnorm": 3, "devices": 4},
            "sync_batchnorm: .* groups of 3 of 4 processes; sizes that fit are 1, 2, 4",
        ),
        ({"sync_batchnorm": 64}, "groups of 64 of 1 processes"),
        ({"sync_batchnorm": 0, "devices": 2}, "true, false, or a number of processes"),
        ({"recompute": ((2, 1),)}, r"groups of stage 1 end at blocks \[2, 1\]; give rising numbers from 1 on"),
        ({"recompute": ((0,),)}, "rising numbers from 1 on"),
        ({"max_skipped": 0}, "max_skipped must be at least 1"),
    ],
)
def test_a_mistake_is_named_with_its_cure(words: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TrainerConfig(**words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["trainer.recompute=[[1],[1]]"],
            "trainer.recompute has 2 stages, but the backbone has 4, of 1, 3, 6, 6 blocks",
        ),
        (["trainer.recompute=[[1],[3],[7],[]]"], "ends a group at block 7 of stage 3, which has 6 blocks"),
        (["trainer.precision=half"], "'half' is none of 'bf16', 'fp16', 'fp32' or 'fp64'"),
        (["model.size=regnety_123gf"], "size 'regnety_123gf' is unknown; did you mean"),
        (["objective.queue=100"], "queue"),
    ],
)
def test_a_recipe_is_checked_as_a_whole(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        config.load(Config, None, words)


def test_recomputation_is_written_as_in_seers_recipe() -> None:
    words = ["model.size=seer_10b", "trainer.recompute=[[2], [7], [9, 17], []]", "trainer.sync_batchnorm=8"]
    words += ["trainer.nodes=62", "trainer.devices=8", "trainer.batch=7936"]
    trainer = config.load(Config, None, words).trainer
    assert trainer.recompute == ((2,), (7,), (9, 17), ())
    assert trainer.batchnorm_group == 8
    assert trainer.layout == "fsdp"


def test_how_weights_are_shared_out_does_not_make_another_run() -> None:
    plain = config.identity(config.load(Config, None, []))
    ways = ["trainer.sharding=hsdp", "trainer.nodes=2", "trainer.devices=2", "trainer.recompute=auto"]
    assert config.identity(config.load(Config, None, [*ways, "trainer.compile=true"])) == plain
    assert config.identity(config.load(Config, None, ["trainer.precision=fp32"])) != plain
    assert config.identity(config.load(Config, None, ["trainer.pieces=2"])) != plain


def test_fp16_without_a_gpu_is_refused_before_anything_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings.torch.cuda, "is_available", lambda: False)
    trainer = TrainerConfig(precision="fp16")
    with pytest.raises(TrainingError, match="fp16, and this machine has no GPU; fp16 is for GPUs"):
        trainer.check_machine()


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    with pytest.raises(TrainingError, match=r"no C\+\+ compiler here; install g\+\+"):
        TrainerConfig(compile=True, accelerator="cpu").check_machine()


def test_steps_that_are_recorded() -> None:
    trainer = TrainerConfig(log_every=4)
    assert [step for step in range(1, 11) if trainer.records(step, 10)] == [1, 4, 8, 10]
