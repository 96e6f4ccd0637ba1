"""The part of the Hugging Face hub's web interface that fetching a model takes, for models in a folder.

/api/models/OWNER/MODEL[/revision/…]            which files there are
/OWNER/MODEL/resolve/COMMIT/FILE                one of them
"""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Counts the bytes that it gives of each file in `given`; models in `gated` ask for consent."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        self.root, self.given, self.gated = root, {}, set()  # type: ignore[var-annotated]
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.describe("/".join(parts[2:4]), parts[4:], body)
        elif len(parts) > 4 and parts[2] == "resolve":
            self.give("/".join(parts[:2]), "/".join(parts[4:]), body)
        else:
            self.send(404, b"", body)

    def describe(self, model: str, rest: list[str], body: bool) -> None:
        folder = self.server.root / model
        if not folder.is_dir():
            self.send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})
        elif model in self.server.gated:
            self.send(403, b"{}", body, {"X-Error-Code": "GatedRepo"})
        elif rest[:1] == ["revision"] and rest[1] not in ("main", COMMIT):
            self.send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})
        else:
            names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
            sizes = {name: (folder / name).stat().st_size for name in names}
            if rest[:1] == ["tree"]:
                content: Any = [
                    {"type": "file", "path": name, "size": sizes[name], "oid": self.etag(folder / name)}
                    for name in names
                ]
            else:
                content = {"id": model, "sha": COMMIT, "siblings": [{"rfilename": n, "size": sizes[n]} for n in names]}
            self.send(200, json.dumps(content).encode(), body, {"Content-Type": "application/json"})

    def give(self, model: str, name: str, body: bool) -> None:
        path = self.server.root / model / name
        if not path.is_file():
            self.send(404, b"", body, {"X-Error-Code": "EntryNotFound"})
            return
        content = path.read_bytes()
        if body:
            self.server.given[name] = self.server.given.get(name, 0) + len(content)
        self.send(200, content, body, {"ETag": f'"{self.etag(path)}"', "X-Repo-Commit": COMMIT})

    def etag(self, path: Path) -> str:
        return hashlib.sha1(path.read_bytes()).hexdigest()

    def send(self, status: int, content: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent."""


@contextmanager
def hub(root: Path) -> Iterator[Hub]:
    """The hub of a folder of owners with models."""
    server = Hub(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
