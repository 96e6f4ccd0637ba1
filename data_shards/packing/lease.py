"""A piece of work that one process holds at a time, among the processes of any number of machines.

A lease is a file `lease-000001` in the folder of the work, created exclusively; the one with the highest number counts.
Its holder touches it every few seconds. Whoever finds that the holder is gone creates the next number, which only one
can. No lease is ever removed or renamed by anybody else, so none can be stolen by a slow process.

- A holder that let go, or that ran on this machine and is dead, is gone for certain: its successor goes on in its
  folder, `work-1`.
- A holder on another machine that has been silent for a minute is presumed gone, and might wake up: its successor
  begins anew in a folder of its own, so that the two never write to one file.

Works where locks do not (NFS, Lustre): it needs exclusive creation and times of change, nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SILENCE = 60.0  # seconds without a sign of life after which a holder elsewhere is presumed gone
_BEAT = 10.0  # seconds between signs of life


class Lease:
    """One piece of work, held. `work` is the folder to do it in."""

    def __init__(self, folder: Path, number: int, work: int) -> None:
        self.folder, self.number = folder, number
        self.work = folder / f"work-{work}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @classmethod
    @contextlib.contextmanager
    def take(cls, folder: Path) -> Iterator[Lease | None]:
        """The lease on `folder`, which is made where needed; None where another process holds it.

        Raises `FileNotFoundError` where the folder around it is gone, as when the whole work is finished.
        """
        folder.mkdir(exist_ok=True)
        lease = cls._take(folder)
        if lease is None:
            yield None
            return
        lease.work.mkdir(exist_ok=True)
        lease._thread.start()
        try:
            yield lease
        finally:
            lease._ended.set()
            lease._thread.join()
            with contextlib.suppress(OSError):  # the folder may be gone: the work is finished
                lease._release()

    @classmethod
    def _take(cls, folder: Path) -> Lease | None:
        number, holder = _newest(folder)
        state = "none" if holder is None else _state(folder / _name(number), holder)
        if state == "alive":
            return None
        work = int(holder["work"]) if holder is not None and state == "gone" else number + 1
        lease = cls(folder, number + 1, work)
        try:
            lease._create()
        except FileExistsError:
            return None
        return lease

    @property
    def path(self) -> Path:
        """The file of the lease."""
        return self.folder / _name(self.number)

    def _create(self) -> None:
        # By a link it is there with its content at once: a kill leaves no empty lease, whose holder none could tell.
        temporary = self.folder / f".{_name(self.number)}.{uuid.uuid4().hex[:12]}"
        temporary.write_text(self._content(released=False))
        try:
            os.link(temporary, self.path)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with open(self.path, "x") as file:
                file.write(self._content(released=False))
        finally:
            temporary.unlink()

    def _release(self) -> None:
        temporary = self.folder / f".{_name(self.number)}"
        temporary.write_text(self._content(released=True))
        os.replace(temporary, self.path)

    def _content(self, *, released: bool) -> str:
        return json.dumps({**_me(), "work": int(self.work.name.partition("-")[2]), "released": released})

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            with contextlib.suppress(OSError):
                os.utime(self.path)


def holder_of(folder: Path) -> str | None:
    """The host and process that hold the lease on a folder; None where nobody does."""
    number, holder = _newest(folder)
    if holder is None or _state(folder / _name(number), holder) != "alive":
        return None
    return f"{holder['host']}, process {holder['pid']}"


def _name(number: int) -> str:
    return f"lease-{number:06d}"


def _newest(folder: Path) -> tuple[int, dict[str, Any] | None]:
    """Number and content of the newest lease; 0 and None where there is none."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith("lease-")]
    except FileNotFoundError:
        names = []
    if not names:
        return 0, None
    number = max(int(name.partition("-")[2]) for name in names)
    try:
        fields: dict[str, Any] = json.loads((folder / _name(number)).read_bytes())
    except ValueError:  # its holder died, or is about to write
        fields = {"machine": None, "host": "another machine", "pid": 0, "work": number, "released": False}
    return number, fields


def _state(path: Path, holder: dict[str, Any]) -> str:
    """`alive`, `gone` for certain, or only `silent`."""
    if holder["released"]:
        return "gone"
    me = _me()
    if holder["machine"] == me["machine"]:
        return "alive" if _started(holder["pid"]) == holder["started"] else "gone"
    try:
        return "silent" if _now(path.parent) - path.stat().st_mtime > SILENCE else "alive"
    except FileNotFoundError:
        return "alive"


def _me() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _machine() -> str:
    """What tells apart two sets of process numbers: another machine, another boot of it, another container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return "/".join(parts)


def _started(pid: int) -> str | None:
    """When a process began, so that its number in other hands is not taken for it; None where there is no such one."""
    try:
        # The name of the program, in brackets, may hold anything; the 20th field after it is the time.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return None
    try:  # a system without /proc
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "running"


def _now(folder: Path) -> float:
    """The time by the clock of the file system, which is the one that leases are touched by."""
    probe = folder / f".now.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
