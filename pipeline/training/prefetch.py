"""Crops on their way to a GPU while it computes the step before: bytes, in pinned memory, on a stream of their own.

    loader ─▶ pinned copy ─▶ device, coloured there where the loader left that ─▶ the step waits for the event

- Whoever iterates asks for a batch ahead, as Lightning does; its copy begins then, and no thread is needed.
- The loader writes into the arrays of a batch again after a few more (KEPT); so they are left before the next one is
  asked for: what the device reads from is a copy, one of two in turn.
- Normalising is the backbone's (`prepare`): a float would be four times the bytes.

On a CPU nothing happens: the loader is given back as it is, and views share its memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from data_shards.batch import Batch
from pipeline.views import Views

_STAGES = 2
"""Pinned copies of a batch: one that the device may still read from, and one that is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving(Batch):
    """A batch whose views are on the device, or will be once `arrived` has happened."""

    views: Views
    arrived: torch.cuda.Event


def prefetched(batches: Iterable[Batch], device: torch.device) -> Iterable[Batch]:
    """The same batches, in order; for a GPU they are `Moving` from the moment in which they are given."""
    return Prefetch(batches, device) if device.type == "cuda" else batches


def views_of(batch: Batch, device: torch.device) -> Views:
    """The views of a batch on `device`, coloured, for the current stream; without a wait of the host where prefetched.

    Not prefetched and on a CPU, they share the loader's memory.
    """
    if not isinstance(batch, Moving):
        return Views.of(batch).to(device).coloured()
    stream = torch.cuda.current_stream(device)
    stream.wait_event(batch.arrived)
    for tensor in _tensors(batch.views):
        tensor.record_stream(stream)  # the memory is the side stream's: not to be given away before the step is done
    return batch.views


class Prefetch:
    """Batches that are on their way to a GPU when they are given."""

    def __init__(self, batches: Iterable[Batch], device: torch.device) -> None:
        self.batches, self.device = batches, device

    def __iter__(self) -> Iterator[Moving]:
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        stages: list[Stage] = []
        for number, batch in enumerate(self.batches):
            views = Views.of(batch)
            if number < _STAGES:
                stages.append(Stage(views))
            stage = stages[number % _STAGES]
            with torch.cuda.stream(stream):
                moved = stage.filled(views).to(self.device, non_blocking=True)
                stage.read.record()
                coloured = moved.coloured()
                arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
                arrived.record()
            mine = {field.name: getattr(batch, field.name) for field in fields(Batch)}
            yield Moving(**mine, views=coloured, arrived=arrived)


class Stage:
    """Pinned memory for the views of a batch."""

    def __init__(self, like: Views) -> None:
        self.pinned = [torch.empty_like(tensor, pin_memory=True) for tensor in _tensors(like)]
        self.read = torch.cuda.Event()  # type: ignore[no-untyped-call]
        """Happens when the device has what lies here; never recorded, it counts as having happened."""

    def filled(self, views: Views) -> Views:
        """The views, copied here; waits where the device still reads what was here before."""
        self.read.synchronize()
        for pinned, tensor in zip(self.pinned, _tensors(views), strict=True):
            pinned.copy_(tensor)
        *crops, indices, labels = self.pinned
        return Views(tuple(crops), indices, labels, views.colours)


def _tensors(views: Views) -> list[Tensor]:
    return [*views.crops, views.indices, views.labels]
