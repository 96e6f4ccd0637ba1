"""Packing: a source of images becomes a shard set.

    list ─▶ slices: examine ─▶ place, by any number of processes ─▶ finish: duplicates across slices, names, manifest

- The list is cut into slices of a fixed length, and what becomes of a slice depends on nothing else; so the bytes do
  not depend on the workers.
- The same call in several processes, on one machine or many, packs together: each takes slices that are free, and the
  last one finishes. After a kill it goes on, after the end it does nothing.
- The manifest is written last.
"""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_shards.errors import OutputError
from data_shards.manifest import FILE, Manifest
from data_shards.packing.finish import finish_packing
from data_shards.packing.folder import FOLDER, Packing, changes_of
from data_shards.packing.listing import change
from data_shards.packing.settings import PackSettings
from data_shards.packing.target import target_for
from data_shards.packing.workers import pack_slices
from data_shards.progress import Progress
from data_shards.readers.reader import Reader

_POLL = 0.5  # seconds between looks at what other processes do


def pack(reader: Reader, out: Path, settings: PackSettings | None = None, progress: Progress | None = None) -> Manifest:
    """Pack the images of `reader` into a shard set in the directory `out`, and give its manifest.

    Raises `SourceError`, `OutputError` and `SampleRateError`.
    """
    out, settings = Path(out), settings or PackSettings()
    progress = progress or Progress(quiet=True)
    if settings.treatment is not None:
        settings.treatment.require()
    with _output_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        manifest = _finished(out, reader, settings)
        while manifest is None:
            try:
                manifest = _pack_on(reader, out, settings, progress)
            except FileNotFoundError:
                if not (out / FILE).exists():
                    raise
                # Another process has finished it, and removed the work folder under us.
            if manifest is None and (out / FILE).exists():
                manifest = Manifest.load(out)
        progress.update(max(0, manifest.totals["listed"] - progress.done), waiting_for=None)
    return manifest


def _pack_on(reader: Reader, out: Path, settings: PackSettings, progress: Progress) -> Manifest | None:
    """Pack what nobody else is packing, and finish where all is packed; None where others have still to do."""
    packing = Packing.begin(out, reader, settings, progress.listed)
    if packing is None:  # it was finished a moment ago
        return None
    pack_slices(packing, progress)
    if all(packing.is_done(piece) for piece in range(packing.listing.slices)):
        manifest = finish_packing(packing)
        if manifest is not None:
            return manifest
    progress.update(0, waiting_for=packing.busy() or "another process")
    time.sleep(_POLL)
    return None


def check_unchanged(reader: Reader, out: Path, settings: PackSettings) -> None:
    """Raise `OutputError` where the shard set in `out` is not what packing `reader` would make now."""
    _finished(out, reader, settings)


def _finished(out: Path, reader: Reader, settings: PackSettings) -> Manifest | None:
    """The manifest in `out`, where one is there and is what this packing would make."""
    if not (out / FILE).exists():
        if not (out / FOLDER).exists() and (foreign := target_for(out, settings.to).first_tar()) is not None:
            where = settings.to or str(out)
            raise OutputError(where, f"already holds {foreign}", "choose an empty directory")
        return None
    manifest = Manifest.load(out)
    source = manifest.source
    changes = changes_of(source, manifest.settings, reader, settings)
    if not changes and (changed := change(reader, source["entries"], source["listing"])):
        changes = [changed]
    if changes:
        raise OutputError(
            str(out), f"holds a finished shard set, but {changes[0]}", "choose another out=, or remove it"
        )
    missing = [] if manifest.at else [shard.name for shard in manifest.shards if not (out / shard.name).exists()]
    if missing:
        raise OutputError(
            str(out / missing[0]),
            "is missing from a finished shard set",
            "bring it back, or rebuild it from the source",
            f"python -m data_shards repair {out}",
        )
    shutil.rmtree(out / FOLDER, ignore_errors=True)  # where a kill came between the manifest and the end
    return manifest


@contextmanager
def _output_errors(out: Path) -> Iterator[None]:
    """Turn what the operating system says about the output into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            right = "free some and repeat the command, it goes on where it stopped"
            raise OutputError(str(out), "no space is left on its disk", right) from None
        if isinstance(error, FileNotFoundError) and (out / FOLDER).exists():
            given, right = f"{error.filename} went away while it was packed", "remove the folder and begin anew"
            raise OutputError(str(out), given, right, f"rm -r {out / FOLDER}") from None
        if isinstance(error, NotADirectoryError | FileExistsError):
            raise OutputError(str(out), "is in the way: it is a file", "choose a directory") from None
        raise OutputError(
            str(out), f"cannot be written ({error.strerror})", "choose a directory you may write"
        ) from None
