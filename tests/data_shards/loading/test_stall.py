"""A thread that dies says which sample it held; one that hangs is noticed, and ends the run or is waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_shards.batch import Arrays, Batch, Draw
from data_shards.errors import ShardError, StallError
from data_shards.loader import Loader
from data_shards.loading.stall import finished
from data_shards.loading.workers import Holding, Workers
from data_shards.stream import ShardSet
from tests.data_shards.batches import copied, load, rows
from tests.data_shards.pictures import Thumbnail, listed, pack_into


@pytest.fixture(scope="module")
def ragged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """33 samples in shards of 10, the last of 3."""
    out = tmp_path_factory.mktemp("ragged")
    pack_into(out, listed(33), samples_per_shard=10)
    return out


class Stuck(Thumbnail):
    """Hangs at sample 17 until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def write(self, image: bytes, draw: Draw, arrays: Arrays, row: int) -> None:
        if draw.index == 17:
            self.let_go.wait(60)
        super().write(image, draw, arrays, row)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    transform = Stuck()
    yield transform
    transform.let_go.set()


def test_a_thread_that_dies_says_which_sample_it_held(ragged: Path) -> None:
    class Broken(Thumbnail):
        def write(self, image: bytes, draw: Draw, arrays: Arrays, row: int) -> None:
            if draw.index == 17:
                raise ZeroDivisionError
            super().write(image, draw, arrays, row)

    before = threading.active_count()
    with Loader(ShardSet(ragged), Broken(), batch=33) as loader, pytest.raises(ZeroDivisionError) as raised:
        next(iter(loader))
    assert raised.value.__notes__ == [f"while loading {ragged}/train-000001.tar 000000017-2_17"]
    assert threading.active_count() == before


def test_a_decoder_that_hangs_ends_the_run_with_the_sample_it_held(ragged: Path, stuck: Stuck) -> None:
    loader = Loader(ShardSet(ragged), stuck, batch=11, threads=3, stall_seconds=0.3)
    given_out: list[Batch] = []
    stream = iter(loader)
    with pytest.raises(
        StallError,
        match=r"no sample was finished for 0 s; threads hold .*/train-000001.tar 000000017-2_17 for \d s \(decoding\); "
        r"look into these images, or have the loader wait \(on_stall=wait\)",
    ):
        given_out.extend(stream)
    assert loader.consumed < 33, "the batch that hangs is not counted"
    with pytest.raises(StopIteration):
        next(stream)
    loader.close()
    consumed = loader.consumed
    stuck.let_go.set()
    stuck.write = Thumbnail().write  # type: ignore[method-assign]
    with loader:
        rest = [copied(next(batches)) for batches in [iter(loader)] for _ in range(3)]
    assert rows(rest) == rows(load(ragged, 3, consumed, batch=11)), "the same loader can go on"


def test_a_read_that_hangs_names_the_shard_where_the_key_cannot_be_read(
    ragged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()
    monkeypatch.setattr(os, "pread", lambda *_: bytes(let_go.wait(60)))
    monkeypatch.setattr("data_shards.loading.stall._KEY_SECONDS", 0.05)
    with (
        Loader(ShardSet(ragged), Thumbnail(), batch=33, threads=8, stall_seconds=0.2) as loader,
        pytest.raises(
            StallError, match=r"train-00000\d.tar sample \d for \d s \(reading\), .*, 4 more; look into its disk"
        ),
    ):
        next(iter(loader))
    let_go.set()


def test_a_shard_that_is_being_fetched_is_waited_for_by_the_patience_of_its_cache(
    ragged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, pread = threading.Event(), os.pread
    monkeypatch.setattr(os, "pread", lambda *words: pread(*words) if let_go.wait(60) else b"")
    monkeypatch.setattr(ShardSet, "is_fetched", True)
    threading.Timer(1.0, let_go.set).start()
    with Loader(ShardSet(ragged), Thumbnail(), batch=33, stall_seconds=0.2) as loader:
        assert len(next(iter(loader)).indices) == 33


def test_a_loader_that_is_to_wait_says_so_and_goes_on(
    ragged: Path, stuck: Stuck, capsys: pytest.CaptureFixture[str]
) -> None:
    threading.Timer(1.0, stuck.let_go.set).start()
    with Loader(ShardSet(ragged), stuck, batch=33, stall_seconds=0.2, on_stall="wait") as loader:
        batch = copied(next(iter(loader)))
    assert rows([batch]) == rows(load(ragged, 1, batch=33))
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) >= 2
    assert all(f"threads hold {ragged}/train-000001.tar 000000017-2_17" in line for line in warnings)


def test_slow_is_not_stuck(ragged: Path) -> None:
    class Slow(Thumbnail):
        def write(self, image: bytes, draw: Draw, arrays: Arrays, row: int) -> None:
            time.sleep(0.05)
            super().write(image, draw, arrays, row)

    assert load_with(ragged, Slow(), stall_seconds=0.5, threads=1), "1.6 s of rows, each well under half a second"


def load_with(directory: Path, transform: Thumbnail, **options: float | int) -> int:
    with Loader(ShardSet(directory), transform, batch=33, **options) as loader:  # type: ignore[arg-type]
        return len(next(iter(loader)).indices)


def test_a_process_that_was_stopped_has_not_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, let_go = Workers(1), threading.Event()
    task = workers.submit(lambda holding: let_go.wait(60))
    now, jumps = time.monotonic(), [0.0, 3600.0]

    def clock() -> float:  # an hour passes while the process is stopped, once
        return now + (jumps.pop(0) if len(jumps) > 1 else jumps[0]) + (time.perf_counter() - began)

    began = time.perf_counter()
    monkeypatch.setattr("data_shards.loading.stall.time.monotonic", clock)
    threading.Timer(0.4, let_go.set).start()
    assert finished([task], workers, 2.0)
    monkeypatch.undo()
    workers.end()
    workers.join()


def test_what_a_thread_holds_is_known_from_outside() -> None:
    workers, holds, let_go = Workers(2), threading.Event(), threading.Event()

    def hold(holding: Holding) -> None:
        holding.take(3, 4)
        holds.set()
        let_go.wait(60)
        holding.has_read()
        holding.finish(100)

    task = workers.submit(hold)
    holds.wait(60)
    (held,) = [holding for holding in workers.holdings if holding.sample is not None]
    assert (held.sample, held.is_read, held.rows) == ((3, 4), False, 0)
    let_go.set()
    task.result()
    assert (held.rows, held.bytes, workers.rows) == (1, 100, 1)
    workers.end()
    workers.join()
    assert held.sample is None


def test_a_process_ends_although_a_thread_hangs(ragged: Path) -> None:
    code = f"""
import threading
from data_shards.errors import StallError
from data_shards.loader import Loader
from data_shards.stream import ShardSet
from tests.data_shards.pictures import Thumbnail
class Stuck(Thumbnail):
    def write(self, *_):
        threading.Event().wait()
loader = Loader(ShardSet({str(ragged)!r}), Stuck(), batch=8, stall_seconds=0.1)
try:
    next(iter(loader))
except StallError:
    print("stopped")
loader.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=Path.cwd())
    assert (done.stdout, done.returncode) == ("stopped\n", 0), done.stderr


def test_a_shard_that_vanishes_is_a_sentence_with_its_name(ragged: Path, tmp_path: Path) -> None:
    pack_into(tmp_path, listed(6), samples_per_shard=3)
    shard_set = ShardSet(tmp_path)
    (tmp_path / "train-000001.tar").unlink()
    with (
        Loader(shard_set, Thumbnail(), batch=6) as loader,
        pytest.raises(ShardError, match=r"train-000001.tar: is mis"),
    ):
        next(iter(loader))
