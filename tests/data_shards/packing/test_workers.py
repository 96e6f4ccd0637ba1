"""Several processes pack together: one command with several, or several commands into one directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_shards.errors import OutputError, SampleRateError
from data_shards.pack import pack
from data_shards.packing.settings import PackSettings
from data_shards.readers.image_folder import ImageFolder
from tests.data_shards.pictures import broken_jpeg, contents, jpeg

PROGRAM = """
import sys
from pathlib import Path
from data_shards.pack import pack
from data_shards.readers.image_folder import ImageFolder
from data_shards.packing.settings import PackSettings
if __name__ == "__main__":
    source, out, workers = sys.argv[1:]
    settings = PackSettings(images_per_slice=25, samples_per_shard=10, workers=int(workers), max_bad=1.0)
    print(pack(ImageFolder.Config(path=source).build(), Path(out), settings).root)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for n in range(200):
        (folder / f"class{n % 3}").mkdir(exist_ok=True)
        (folder / f"class{n % 3}" / f"{n:03d}.jpg").write_bytes(broken_jpeg(n) if n % 7 == 0 else jpeg(n % 150))
    return folder


def settings(**changes: object) -> PackSettings:
    return PackSettings(**{"images_per_slice": 25, "samples_per_shard": 10, "max_bad": 1.0, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    pack(ImageFolder.Config(path=str(source)).build(), out, settings(workers=1))
    return contents(out)


def command(source: Path, out: Path, workers: int = 1) -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(source), str(out), str(workers)]


def test_the_bytes_do_not_depend_on_the_processes(source: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    # Worker processes import the main module, which must not be pytest's here.
    (tmp_path / "program.py").write_text(PROGRAM)
    arguments = [sys.executable, str(tmp_path / "program.py"), str(source), str(tmp_path / "out"), "3"]
    subprocess.run(arguments, check=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert contents(tmp_path / "out") == expected


def test_commands_that_pack_into_one_directory_share_the_work(
    source: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    running = [subprocess.Popen(command(source, tmp_path / "out"), stdout=subprocess.PIPE) for _ in range(3)]
    roots = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(roots) == 1
    assert contents(tmp_path / "out") == expected


def test_the_others_take_over_from_one_that_is_killed(source: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = [subprocess.Popen(command(source, out)) for _ in range(2)]
    while not list(out.glob(".packing/slices/*/done.json")):
        time.sleep(0.01)
    running[0].send_signal(signal.SIGKILL)
    assert running[1].wait() == 0
    running[0].wait()
    assert contents(out) == expected


def test_a_mistake_in_a_worker_is_the_mistake_of_the_command(source: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        PROGRAM.replace("images_per_slice=25", "images_per_slice=110").replace("1.0", "0.05")
    )
    arguments = [sys.executable, str(tmp_path / "program.py"), str(source), str(tmp_path / "out"), "2"]
    run = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": os.getcwd()}, capture_output=True, text=True)
    assert SampleRateError.__name__ in run.stderr
    assert "images of slice" in run.stderr


def test_a_worker_that_is_killed_is_a_sentence(source: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    mortal = PROGRAM.replace(
        'if __name__ == "__main__":',
        "import os\n"
        "if __name__ != '__main__' and os.environ['MORTAL'] == 'yes':\n"
        "    os.kill(os.getpid(), 9)\n"
        'if __name__ == "__main__":',
    )
    (tmp_path / "program.py").write_text(mortal)
    arguments = [sys.executable, str(tmp_path / "program.py"), str(source), str(tmp_path / "out"), "2"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "MORTAL": "yes"}
    run = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert OutputError.__name__ in run.stderr
    assert "a worker was killed, perhaps for want of memory" in run.stderr
    subprocess.run(arguments, env={**environment, "MORTAL": "no"}, check=True)
    assert contents(tmp_path / "out") == expected
