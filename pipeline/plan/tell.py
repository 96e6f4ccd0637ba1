"""A plan in lines for a terminal, and as plain values for machines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from data_shards.inspect.text import amount
from pipeline.plan.concerns import GIB
from pipeline.plan.planned import Plan

_LAYOUTS = {
    "fsdp": "weights, gradients and optimizer shared out among all (fsdp)",
    "hsdp": "weights, gradients and optimizer shared out within each node (hsdp)",
    "ddp": "each with all weights, gradients and optimizer (ddp)",
    "none": "with everything",
}


def tell(plan: Plan, data: str, concerns: Sequence[str]) -> str:
    """The plan, what is known of the data, and what looks wrong."""
    lines = [f"{name:<14}{text}" for name, text in _lines(plan, data)]
    for sentence in concerns or ["none that could be seen from here"]:
        lines += textwrap.wrap(sentence, 120, initial_indent=f"{'concern':<14}", subsequent_indent=" " * 14)
    return "\n".join(lines)


def to_mapping(plan: Plan, data: str, concerns: Sequence[str]) -> dict[str, Any]:
    """All figures as plain values; bytes, not GiB."""
    derived = {
        "processes": plan.processes,
        "share": plan.share,
        "unevenness": plan.unevenness,
        "checkpoint": plan.whole.saved,
        "disk": plan.keep * plan.whole.saved,
        "flops": None if plan.length.samples is None else plan.work.flops(plan.length.samples),
    }
    return {**asdict(plan), **derived, "data": data, "concerns": list(concerns)}


def _lines(plan: Plan, data: str) -> Iterator[tuple[str, str]]:
    crops = " + ".join(f"{views}×{side}" for views, side in plan.crops)
    yield "model", f"{_millions(plan.parameters)} parameters, of which {_millions(plan.backbone)} in the backbone"
    nodes = f", {plan.nodes} nodes of {plan.devices}" if plan.nodes > 1 else ""
    yield "processes", f"{plan.processes:,}{nodes}; {_LAYOUTS[plan.layout]}"
    yield "batch", f"{plan.batch:,} images, {plan.share:,} a process; {crops} pixels"
    yield from _length(plan)
    yield "data", data
    state = plan.process
    parts = (("weights", state.parameters), ("gradients", state.gradients), ("optimizer", state.optimizer))
    yield "a process", ", ".join(f"{name} {_gib(size)}" for name, size in (*parts, ("buffers", state.buffers)))
    if plan.peak is not None:
        kept, most = plan.peak.kept, plan.peak.total
        yield "a step", f"keeps {_gib(kept)} for the backward pass; at most {_gib(most)} with all the rest"
    else:
        yield "a step", "not taken"
    yield "checkpoint", _checkpoint(plan)
    work = plan.work
    again = f", of which {work.recomputed / work.forward:.0%} twice" if work.recomputed else ""
    total = "" if plan.length.samples is None else f"; {work.flops(plan.length.samples):.2g} FLOP in all"
    macs = f"{work.forward / 1e9:,.1f} G" if work.forward >= 1e9 else f"{work.forward / 1e6:,.1f} M"
    yield "arithmetic", f"{macs} multiply-adds an image, forward, all crops{again}{total}"


def _length(plan: Plan) -> Iterator[tuple[str, str]]:
    length = plan.length
    if length.steps is None or length.samples is None:
        yield "length", "in epochs, but how many samples one has is not known; --samples N says it"
    else:
        epochs = "" if length.epochs is None else f", {length.epochs:,.4g} epochs"
        yield "length", f"{length.steps:,} steps, {length.samples:,} images{epochs}"
    warmup = "" if length.warmup is None else f", after a warm-up of {length.warmup:,} steps"
    yield "rate", f"{length.rate:.4g} at its peak{warmup}"


def _checkpoint(plan: Plan) -> str:
    every = "" if plan.length.checkpoint_every is None else f", every {plan.length.checkpoint_every:,} steps"
    saved = plan.whole.saved
    return f"{amount(saved)}{every}; keep={plan.keep} takes up to {amount((plan.keep + 1) * saved)} of disk"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB / 10 else f"{size / 2**20:.2f} MiB"


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f} M"
