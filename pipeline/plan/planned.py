"""A plan: everything that is known of a training before it runs."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.models.complexity import count_parameters
from pipeline.plan.assembled import Training, assembled
from pipeline.plan.length import Length, length
from pipeline.plan.peak import Peak, peak
from pipeline.plan.state import State, state
from pipeline.plan.work import Work, work


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a training will need. Bytes are of the process that holds most, which is the first one."""

    nodes: int
    devices: int
    layout: str
    """fsdp, hsdp, ddp or none: among whom the state is shared out."""
    batch: int
    crops: tuple[tuple[int, int], ...]
    """(views, side in pixels)."""
    parameters: int
    """Of the whole objective."""
    backbone: int
    """Parameters of the backbone."""
    length: Length
    work: Work
    process: State
    """Bytes on a process."""
    whole: State
    """Bytes of all processes together, each tensor once."""
    peak: Peak | None
    """None where it was not asked for."""
    keep: int
    """Checkpoints that stay on disk."""

    @property
    def processes(self) -> int:
        """Of the job."""
        return self.nodes * self.devices

    @property
    def share(self) -> int:
        """Images per step and process."""
        return self.batch // self.processes

    @property
    def unevenness(self) -> float:
        """How much more of the state this process holds than an equal share, 0 for none."""
        holders = {"fsdp": self.processes, "hsdp": self.devices}.get(self.layout, 1)
        return self.process.shared * holders / self.whole.shared - 1

    @property
    def needed(self) -> int:
        """Bytes that a device must have at least, as far as they were counted."""
        return self.peak.total if self.peak else self.process.total


def plan(training: Training, *, with_peak: bool = True) -> Plan:
    """Plan a training. Without the peak it takes seconds for any size; with it up to a minute or two."""
    trainer, whole = training.trainer, training.meta()
    with assembled(training) as (objective, optimizer):
        process, everything = state(objective, optimizer), state(objective, optimizer, whole=True)
        rate = max(group["base_lr"] for group in optimizer.param_groups)
        found = peak(objective, optimizer, training) if with_peak else None
    return Plan(
        nodes=trainer.nodes,
        devices=trainer.devices,
        layout=trainer.layout,
        batch=trainer.batch,
        crops=training.crops,
        parameters=count_parameters(whole),
        backbone=count_parameters(whole.backbone),
        length=length(training, rate),
        work=work(whole, training),
        process=process,
        whole=everything,
        peak=found,
        keep=trainer.keep,
    )
