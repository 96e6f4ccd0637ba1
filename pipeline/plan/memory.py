"""How many bytes of tensors are alive while a step runs, and how many there were at most.

A dispatch mode sees every tensor that an operation gives; a storage counts from then until nobody holds it. Works on
fake tensors, which have sizes and no memory, and on real ones. What it cannot see is what a kernel borrows inside
itself, such as a convolution's work space, and what an allocator keeps for later.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts storages within `with`. `now` and `peak` are bytes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._held: dict[int, tuple[weakref.ref[torch.UntypedStorage], int]] = {}

    def __enter__(self) -> Memory:
        resize, memory = torch.UntypedStorage.resize_, self

        # FSDP2 gives the memory of gathered parameters back by resizing storages, which is no operation.
        def resize_and_count(self: torch.UntypedStorage, size: int) -> Any:
            done = resize(self, size)
            memory._count(self)
            return done

        self._patch = mock.patch.object(torch.UntypedStorage, "resize_", resize_and_count)
        self._patch.start()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._patch.stop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # its operation on what this process holds comes here next
        result = func(*args, **(kwargs or {}))
        self.hold(tree_iter(result))
        return result

    def hold(self, tensors: Iterable[Any]) -> None:
        """Count tensors that were there before; others in the iterable are passed over."""
        for tensor in tensors:
            if isinstance(tensor, DTensor):
                tensor = tensor.to_local()
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.size()
        if key in self._held:
            self.now += size - self._held[key][1]
            self._held[key] = (self._held[key][0], size)
        else:
            self._held[key] = (weakref.ref(storage, lambda _: self._forget(key)), size)
            self.now += size
        self.peak = max(self.peak, self.now)

    def _forget(self, key: int) -> None:
        self.now -= self._held.pop(key)[1]
