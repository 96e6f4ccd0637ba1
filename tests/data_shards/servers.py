"""A web server on loopback that gives the files of a folder, by ranges, and misbehaves as it is told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.loopback import Handler, Server, serving


class Files(Server):
    """Counts the bodies it gives of each name in `seen`.

    While `down` is set it answers 503, and to every other request as long as it `fails` some more times. What is
    `damaged` so many times comes with a flipped bit in its middle. Every answer takes `delay` seconds.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen: Counter[str] = Counter()
        self.damaged: Counter[str] = Counter()
        self.down = threading.Event()
        self.fails = 0
        self.delay = 0.0
        self.requests = 0
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        super().__init__(_Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


class _Handler(Handler):
    server: Files

    def answer(self, *, body: bool) -> None:
        self.server.stopped.wait(self.server.delay)
        name = self.path.strip("/")
        path = self.server.root / name
        with self.server.lock:
            self.server.requests += 1
            failing = self.server.fails > 0 and self.server.requests % 2 == 0
            self.server.fails -= failing
        if failing or self.server.down.is_set():
            self.send(503, b"", body)
        elif not path.is_file():
            self.send(404, b"", body)
        else:
            content = path.read_bytes()
            ranged = self.headers.get("Range")
            first, last = 0, len(content) - 1
            if ranged is not None:
                begin, _, end = ranged.removeprefix("bytes=").partition("-")
                first, last = int(begin), min(int(end or last), last)
            if body and last > first:
                with self.server.lock:
                    self.server.seen[name] += 1
                    if self.server.damaged[name] > 0:
                        self.server.damaged[name] -= 1
                        middle = len(content) // 2
                        content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            part = content[first : last + 1]
            headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}"} if ranged is not None else {}
            self.send(206 if ranged is not None else 200, part, body, {**headers, "Accept-Ranges": "bytes"})


@contextmanager
def files(root: Path) -> Iterator[Files]:
    """The server of a folder."""
    with serving(Files(root)) as server:
        try:
            yield server
        finally:
            server.stopped.set()
