"""Train an objective on a stream of batches, from wherever the run directory says it stopped.

fit, with an objective on the meta device
├── newest checkpoint that verifies → step, samples consumed; metrics.jsonl and the loader rewound to them
├── the processes meet; assembly.py prepares, shards and fills the objective; the checkpoint is loaded over it
└── Lightning runs the steps that remain: module.py, recording.py, saving.py, and the callbacks given
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.strategies import ModelParallelStrategy

from data_shards.loader import Loader
from data_shards.progress import Progress as ProgressLine
from pipeline import distributed, goodput, preemption, slurm
from pipeline.checkpoints.store import Saved, content, latest
from pipeline.objectives.objective import Objective
from pipeline.preemption import Preempted
from pipeline.runs import Run
from pipeline.training.accounting import Accounting
from pipeline.training.deadline import Deadline
from pipeline.training.ema import Average
from pipeline.training.memory import keep_memory
from pipeline.training.module import ObjectiveModule
from pipeline.training.optimizers import AnyOptimizer
from pipeline.training.pace import Pace
from pipeline.training.prefetch import prefetched
from pipeline.training.recording import Recording
from pipeline.training.saving import Saving
from pipeline.training.schedules import Duration, Schedule
from pipeline.training.settings import TrainerConfig
from pipeline.training.tracking import NoTracker, Tracker, tracker
from pipeline.training.weights import Weights


@dataclass(frozen=True)
class Fitted:
    """What training leaves: the last checkpoint, and a hash over every tensor of the objective."""

    checkpoint: Path
    content: str
    steps: int

    def files(self, run: Path) -> tuple[str, ...]:
        """Names of the checkpoint's files below the run directory."""
        return tuple(str(path.relative_to(run)) for path in self.checkpoint.iterdir())


def fit(
    objective: Objective,
    loader: Loader,
    run: Run,
    *,
    trainer: TrainerConfig,
    optimizer: AnyOptimizer,
    schedule: Schedule,
    samples: int,
    seed: int,
    label: str,
    config: Any,
    weights: Weights | None = None,
    average: Average.Config | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> Fitted:
    """Train to the end of the recipe. `samples` is the number of samples of one epoch.

    `objective` has been built on the meta device; it begins with the weights of `seed`, and over them with those of
    another run where `weights` are given. With `average`, checkpoints hold the average of the weights beside them.
    """
    per_epoch = samples / trainer.batch
    steps = max(1, math.ceil(Duration.parse(trainer.duration).steps(per_epoch)))
    module = ObjectiveModule(
        objective,
        optimizer,
        schedule,
        trainer,
        steps=steps,
        samples=samples,
        seed=seed,
        weights=weights,
        average=average,
    )
    track = (
        tracker(trainer.wandb, run.path, project=trainer.project, identifier=run.fingerprint[:16], config=config)
        if run.writes
        else NoTracker()
    )
    saved, passed_over = latest(run.path)
    if run.writes and (saved or passed_over):
        print("; ".join([*passed_over, f"{label}: going on from step {saved.step if saved else 0} of {steps}"]))
    if saved:
        module.resume(saved)
        loader.load_state_dict({**saved.stream, "consumed": saved.consumed, "number": saved.step})
    run.rewind(lambda record: record.get("step", 0) <= module.step)
    with preemption.deferred():
        if module.step < steps:
            saved = _train(module, loader, run, label, track, callbacks)
    assert saved is not None
    assert saved.step == steps
    return Fitted(saved.path, content(saved.path) if run.writes else "", saved.step)


def _train(
    module: ObjectiveModule, loader: Loader, run: Run, label: str, track: Tracker, callbacks: Sequence[pl.Callback]
) -> Saved | None:
    """The steps that remain; gives the last checkpoint. Raises `Preempted` where it is told to stop before."""
    trainer, begin, steps = module.settings, module.step, module.steps
    pace = Pace.of(trainer, steps, module.samples / trainer.batch, goodput.read(run.path) if run.writes else ())
    job = slurm.here() if run.writes else None
    accounting = Accounting(run, begin)
    saving = Saving(run, loader, pace, trainer.retention, Deadline(lambda: slurm.ends(job) if job else None))
    end = "failed"
    with ProgressLine(
        steps * trainer.batch, unit="images", label=label, quiet=not run.writes, start=begin * trainer.batch
    ) as line:
        try:
            if not trainer.on_gpu:
                keep_memory()
            engine = _engine(
                trainer, steps - begin, [*callbacks, Recording(run, loader, track, line), saving, accounting]
            )
            engine.fit(module, prefetched(loader, engine.strategy.root_device))
            end = "preempted" if saving.left else "done"
        except SystemExit:  # what Lightning makes of Ctrl-C
            end = "stopped"
            raise KeyboardInterrupt from None
        finally:
            accounting.take(module, end)
            loader.close()
            track.finish()
    if saving.left:
        raise Preempted(saving.left)
    return saving.newest


def _engine(trainer: TrainerConfig, steps: int, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Lightning as we use it: it runs steps. Data order, checkpoints, logging and requeueing are the pipeline's own."""
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # What it makes of the processes is a process group; sharding.py says who holds what.
    job = ModelParallelStrategy(data_parallel_size=trainer.processes, tensor_parallel_size=1)
    here = distributed.local_world_size() or trainer.devices
    plugins = [SLURMEnvironment(auto_requeue=False)] if distributed.under_srun() else []
    engine = pl.Trainer(
        accelerator="gpu" if trainer.on_gpu else "cpu",
        devices=here,
        num_nodes=trainer.processes // here,
        strategy=job if trainer.processes > 1 else "auto",
        precision="32-true",
        plugins=plugins,
        callbacks=callbacks,
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    # Its own handler of SIGTERM broadcasts from within, and each step it reads a flag from the device for it.
    quiet: list[tuple[Any, str]] = [
        (engine._signal_connector, "register_signal_handlers"),
        (engine.fit_loop.epoch_loop, "_broadcast_sigterm_tensor"),
    ]
    for owner, name in quiet:
        assert hasattr(owner, name), name
        setattr(owner, name, lambda: None)
    return engine


_NOISE = (
    ".*does not have many workers.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*lr_scheduler.*",
    ".*litlogger.*",
    ".*`srun` command is available.*",
)
"""Warnings of Lightning about things the pipeline does itself."""
