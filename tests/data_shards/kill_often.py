"""Packs again and again in child processes that are killed at random moments; a program of its own, for it forks.

python -m tests.data_shards.kill_often SOURCE OUT KILLS SEED prints how many kills it took.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from data_shards.pack import pack
from data_shards.packing.settings import PackSettings
from data_shards.readers.image_folder import ImageFolder

SETTINGS = PackSettings(samples_per_shard=10, images_per_slice=100, workers=1, threads=2, max_bad=1.0)


def pack_once(source: Path, out: Path) -> None:
    pack(ImageFolder.Config(path=str(source)).build(), out, SETTINGS)


def main(source: Path, out: Path, kills: int, seed: int) -> int:
    moments, killed = random.Random(seed), 0
    while True:
        child = os.fork()
        if child == 0:
            pack_once(source, out)
            os._exit(0)
        if killed < kills:
            time.sleep(moments.uniform(0, 0.04))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed += 1
        else:
            return killed


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
