"""Run a function on several gloo processes of this machine and get what each returned.

    def halves(rank: int, world: int, x: Tensor) -> Tensor: ...
    results = on_processes(halves, 2, x)            # one result a rank

The function must be importable (top level of a test module), its arguments and results picklable. The processes of
a world size stay alive between calls, because importing torch takes seconds; one that raises or hangs ends its
pool, and the error is raised here with the process's own traceback.
"""

from __future__ import annotations

import atexit
import multiprocessing
import tempfile
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
SECONDS = 120


def on_processes(function: Callable[..., T], world: int, *arguments: Any) -> list[T]:
    """`function(rank, world, *arguments)` on each of `world` processes."""
    pool = _pools.get(world)
    if pool is None:
        pool = _pools[world] = _Pool(world)
    try:
        return pool.call(function, arguments)
    except BaseException:
        _pools.pop(world).close()
        raise


class _Pool:
    def __init__(self, world: int) -> None:
        # The fork server imports torch once for all processes, before any thread runs.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch.distributed.fsdp", "torch.distributed.checkpoint.state_dict"])
        self.folder = tempfile.TemporaryDirectory(prefix="gloo-")
        store = f"file://{Path(self.folder.name) / 'store'}"
        self.pipes: list[Connection] = []
        self.processes: list[BaseProcess] = []
        for rank in range(world):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(rank, world, store, there), daemon=True)
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)

    def call(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> list[T]:
        for pipe in self.pipes:
            pipe.send((function, arguments))
        results: dict[Connection, T] = {}
        while len(results) < len(self.pipes):
            waiting = [pipe for pipe in self.pipes if pipe not in results]
            ready = wait(waiting, timeout=SECONDS)
            if not ready:
                ranks = [self.pipes.index(pipe) for pipe in waiting]
                raise TimeoutError(f"{function.__name__}: ranks {ranks} gave nothing for {SECONDS} s")
            for pipe in ready:
                assert isinstance(pipe, Connection)
                try:
                    error, result = pipe.recv()
                except EOFError:
                    raise RuntimeError(f"{function.__name__}: rank {self.pipes.index(pipe)} died") from None
                if error:
                    raise AssertionError(f"{function.__name__}: rank {self.pipes.index(pipe)} raised\n{error}")
                results[pipe] = result
        return [results[pipe] for pipe in self.pipes]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
        self.folder.cleanup()


_pools: dict[int, _Pool] = {}


@atexit.register
def _close_all() -> None:
    for pool in _pools.values():
        pool.close()


def _serve(rank: int, world: int, store: str, pipe: Connection) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    warnings.simplefilter("error")
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    while pipe.poll(None):
        try:
            function, arguments = pipe.recv()
            pipe.send((None, function(rank, world, *arguments)))
        except EOFError:
            return
        except BaseException:
            pipe.send((traceback.format_exc(), None))
