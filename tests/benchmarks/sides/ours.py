"""Our side: packing through the public call."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from data_shards import pack as packing
from data_shards.readers.image_folder import ImageFolder
from tests.benchmarks.side import serve


def pack(source: str, out: str, probe: str, **others: Any) -> dict[str, int]:
    """Pack a folder in this process; gives the totals."""
    reader = ImageFolder.Config(path=source).build()
    return packing.pack(reader, Path(out), _settings(probe=probe, workers=1, **others)).totals


def _settings(probe: str, **others: Any) -> Any:
    try:
        from data_shards.packing.settings import PackSettings
    except ImportError:  # before the settings of a packing were top-level keys
        return packing.Pack.Config(check=probe, **others)
    known = {field.name for field in dataclasses.fields(PackSettings)}
    assert known >= {"probe", *others}, others
    return PackSettings(probe=probe, **others)


if __name__ == "__main__":
    serve(pack=pack)
