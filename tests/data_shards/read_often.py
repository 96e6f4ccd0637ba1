"""Processes that read shards through one small cache, and are killed at random moments; a program of its own, for it
forks.

python -m tests.data_shards.read_often WHERE AT FOLDER BYTES KILLS SEED, where AT is the URL of the set in WHERE. Each
process reads 40 random samples and ends with 0 if their bytes are those of WHERE; it is killed, if at all, and another
takes its place. It prints {"kills", "most": bytes of the shards in the folder, at most}.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from data_shards.reading import fetch
from data_shards.reading.cache import CacheSettings
from data_shards.reading.cache_folder import CacheFolder
from data_shards.stream import ShardSet

PROCESSES = 3
_LIMIT = 50.0  # seconds


def read(here: ShardSet, at: str, settings: CacheSettings, seed: int) -> int:
    """How many samples were not as they should be."""
    numbers, wrong = random.Random(seed), 0
    there = ShardSet(at, cache=settings)
    fetch._BLOCK = 512  # many moments to be killed at
    for _ in range(40):
        index = numbers.randrange(here.samples)
        there.expect([numbers.randrange(len(here.shards)) for _ in range(2)])
        wrong += there.image(index) != here.image(index)
    there.close()
    return wrong


def look(folder: CacheFolder) -> int:
    """Bytes of the shards in the folder, also of those that are being written."""
    size = 0
    folder.folder.mkdir(parents=True, exist_ok=True)
    with folder._locked():  # nobody makes room meanwhile, so that nothing is counted twice
        for path in folder.folder.glob("*"):
            with suppress(FileNotFoundError):
                size += path.stat().st_size if path.suffix in (".tar", ".partial") else 0
    return size


def main(where: Path, at: str, settings: CacheSettings, kills: int, seed: int) -> dict[str, int]:
    here, numbers = ShardSet(where), random.Random(seed)
    ShardSet(at, cache=settings)  # imports what it takes, once
    folder = CacheFolder(Path(settings.folder, "shards"), settings.bytes)
    children: dict[int, bool] = {}
    begun = killed = most = 0
    ends = time.monotonic() + _LIMIT
    while begun < kills + PROCESSES or children:
        while len(children) < PROCESSES and begun < kills + PROCESSES:
            begun += 1
            child = os.fork()
            if child == 0:
                os._exit(min(read(here, at, settings, seed + begun), 1))
            children[child] = True
        time.sleep(numbers.uniform(0, 0.05))
        most = max(most, look(folder))
        if killed < kills and begun - killed - len(children) < PROCESSES:
            victim = numbers.choice(list(children))
            os.kill(victim, signal.SIGKILL)
            killed += 1
        while children:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                break
            del children[child]
            assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a sample was not as it should be"
        assert time.monotonic() < ends, "they wait for each other"
    return {"kills": killed, "most": most}


if __name__ == "__main__":
    where, at, folder, size, kills, seed = sys.argv[1:]
    settings = CacheSettings(folder=folder, bytes=int(size), patience=20.0, downloads=1)
    print(json.dumps(main(Path(where), at, settings, int(kills), int(seed))))
