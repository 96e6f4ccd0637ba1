"""Each check of a node, against the fault that it is for."""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from data_shards.pack import pack
from data_shards.packing.settings import PackSettings
from data_shards.readers.photographs import Photographs
from pipeline.errors import JobError
from pipeline.jobs import preflight
from pipeline.jobs.launch import tell_unfit
from pipeline.jobs.preflight import MIB, Fault, Health, examine, read
from pipeline.jobs.target import Target
from pipeline.slurm import Allocation

NODES = ("a", "b", "c")
JOB = Allocation(job="1", number=1, restart=0, nodes=NODES, tasks=6, gpus=0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "shards"
    source = Photographs.Config(only=("coffee",), tile=32, train=8, test=2).build()
    pack(source, folder, PackSettings(samples_per_shard=2))
    return folder


def target(out: Path, *shards: Path | str) -> Target:
    return Target(stage="pretrain", words=(), out=out, shards=tuple(map(str, shards)))


def test_a_healthy_node_has_no_faults_and_leaves_nothing_behind(shards: Path, tmp_path: Path) -> None:
    health = examine(target(tmp_path, shards, shards / "train-*.tar"), tasks=2, gpus=0)
    assert health.faults == ()
    assert [path.name for path in tmp_path.rglob("*")] == ["jobs"]


def test_what_a_node_says_is_read_from_among_other_lines() -> None:
    health = Health("n1", 12.5, (Fault("clock", "slow", False), Fault("shards x", "gone", True)))
    assert read(f"Welcome to n1!\n{{}}\n[1]\n{health.line()}\n{{broken\n") == {"n1": health}


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    faults = examine(target(tmp_path / "file" / "run"), tasks=1, gpus=0).faults
    assert ("run directory", True) in {(fault.check, fault.shared) for fault in faults}
    assert "Not a directory" in faults[0].reason


def test_a_disk_that_gives_back_other_bytes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda path: bytes(MIB))
    assert preflight.disk(tmp_path) == f"{tmp_path} gives back other bytes than were written"


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
def test_a_clock_that_is_off_the_file_server_s_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    now = time.time
    assert preflight.clock(tmp_path) is None
    monkeypatch.setattr(preflight.time, "time", lambda: now() + ahead)
    assert preflight.clock(tmp_path) == "the clock is 3600 s from the file server's; at most 5 s are fine"


def test_shared_memory_is_counted_by_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = types.SimpleNamespace(free=200 * MIB)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage)
    assert preflight.shared_memory(tmp_path, 3) is None
    assert preflight.shared_memory(tmp_path, 4) == f"{tmp_path} has 200 MiB free; 4 tasks need 256 MiB"


def test_shards_that_are_gone_empty_or_forbidden_are_found(shards: Path, tmp_path: Path) -> None:
    assert preflight.reach(str(tmp_path), "n") == f"{tmp_path} holds no shards"
    (tmp_path / "train-000000.tar").touch()
    assert preflight.reach(str(tmp_path), "n") == f"{tmp_path / 'train-000000.tar'} is empty"
    for tar in shards.glob("*.tar"):
        tar.rename(tar.with_suffix(".gone"))
    try:
        (fault,) = examine(target(tmp_path, shards), tasks=1, gpus=0).faults
    finally:
        for gone in shards.glob("*.gone"):
            gone.rename(gone.with_suffix(".tar"))
    assert fault.shared
    assert "No such file" in fault.reason


def test_nodes_try_different_shards(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: set[str] = set()

    def watched(path: str, mode: str) -> BinaryIO:
        opened.add(path)
        return Path(path).open("rb")

    monkeypatch.setattr(preflight, "open", watched, raising=False)
    for node in range(40):
        assert preflight.reach(str(shards), f"n{node}") is None
    assert opened == {str(path) for path in shards.glob("*.tar")}


def test_a_cache_on_a_node_is_looked_at_only_where_shards_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "reach", lambda where, node: None)
    blocked = tmp_path / "file"
    blocked.touch()
    away = Target(
        stage="probe", words=(), out=tmp_path, shards=("http://127.0.0.1:9/x.tar",), cache=str(blocked / "cache")
    )
    assert [fault.check for fault in examine(away, tasks=1, gpus=0).faults] == ["cache"]
    near = replace(away, shards=(str(tmp_path),))
    assert examine(near, tasks=1, gpus=0).faults == ()


def test_a_check_that_breaks_is_a_fault_and_not_a_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "compute", lambda gpus: 1 / 0)
    assert examine(target(tmp_path), tasks=1, gpus=2).faults == (Fault("gpu", "ZeroDivisionError: division by zero"),)


def faults(*of: tuple[str, ...]) -> dict[str, Health]:
    """The health of nodes a, b, c with these checks failed; `shards` is on what they share."""
    return {
        node: Health(node, 100.0, tuple(Fault(check, "why", check == "shards") for check in checks))
        for node, checks in zip(NODES, of, strict=True)
    }


@pytest.mark.parametrize(
    ("healths", "unfit"),
    [
        (faults((), (), ()), {}),
        (faults((), ("memory",), ()), {"b": "memory: why"}),
        (faults(("shards",), (), ("shards", "memory")), {"a": "shards: why", "c": "shards: why"}),
        ({"a": Health("a", 100.0, ()), "b": Health("b", 100.0, ())}, {"c": "preflight: no answer in 10 s"}),
        (
            {**faults((), (), ()), "b": Health("b", 60.0, ())},
            {"b": "clock: the clock is 35 s from a's; at most 5 s are fine"},
        ),
    ],
)
def test_an_unfit_node_is_named_with_its_first_fault(healths: dict[str, Health], unfit: dict[str, str]) -> None:
    assert tell_unfit(JOB, healths, 95.0, 105.0) == unfit


@pytest.mark.parametrize("check", ["shards", "memory"])
def test_what_fails_on_every_node_is_the_job_s_own(check: str) -> None:
    with pytest.raises(JobError, match=f"{check}: why; every node of the job fails this"):
        tell_unfit(JOB, faults((check,), (check,), (check, "clock")), 95.0, 105.0)


def test_on_one_node_only_what_is_shared_can_be_the_job_s_own() -> None:
    alone = Allocation(job="1", number=1, restart=0, nodes=("a",), tasks=1, gpus=0)
    assert tell_unfit(alone, faults(("memory",), (), ()), 95.0, 105.0) == {"a": "memory: why"}
    with pytest.raises(JobError):
        tell_unfit(alone, faults(("shards",), (), ()), 95.0, 105.0)


def test_a_node_that_hangs_is_unfit_and_one_that_cannot_start_python_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Allocation(job="1", number=1, restart=0, nodes=("a",), tasks=1, gpus=0)
    with pytest.raises(JobError, match="no answer in 10 s; every node"):
        tell_unfit(alone, {}, 95.0, 105.0)
    monkeypatch.setenv("PREFLIGHT_SECONDS", "8")
    assert tell_unfit(alone, {}, 95.0, 105.0) == {"a": "preflight: no answer in 10 s"}


class Card:
    """A torch with GPUs that may be broken."""

    def __init__(self, count: int, free: float = 0.95, wrong: bool = False) -> None:
        import torch

        self.real, self.wrong = torch, wrong
        cuda = types.SimpleNamespace(
            is_available=lambda: count > 0,
            device_count=lambda: count,
            mem_get_info=lambda _: (int(free * 80 * 2**30), 80 * 2**30),
        )
        self.module = types.SimpleNamespace(cuda=cuda, arange=self.arange, equal=self.equal)

    def arange(self, size: int, device: str) -> object:
        return self.real.arange(size)

    def equal(self, a: object, b: object) -> bool:
        return not self.wrong and self.real.equal(a, b)  # type: ignore[arg-type]


@pytest.fixture
def torch_is(monkeypatch: pytest.MonkeyPatch) -> Callable[[Card], None]:
    return lambda card: monkeypatch.setitem(sys.modules, "torch", card.module)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Card(2), None),
        (lambda: Card(0), "torch sees 0 GPUs; the job was given 2"),
        (lambda: Card(1), "torch sees 1 GPUs; the job was given 2"),
        (lambda: Card(2, free=0.1), "GPU 0 has 8 of 80 GiB free: another process holds it"),
        (lambda: Card(2, wrong=True), "GPU 0 multiplies two matrices wrongly"),
    ],
)
def test_gpus_that_are_missing_taken_or_broken_are_found(
    make: Callable[[], Card], reason: str | None, torch_is: Callable[[Card], None]
) -> None:
    torch_is(make())
    assert preflight.compute(2) == reason


def test_real_gpus_pass() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    assert preflight.compute(torch.cuda.device_count()) is None
