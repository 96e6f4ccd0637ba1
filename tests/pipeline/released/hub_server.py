"""The part of the Hugging Face hub's web interface that fetching a model takes, for models in a folder.

/api/models/OWNER/MODEL[/revision/…]            which files there are
/OWNER/MODEL/resolve/COMMIT/FILE                one of them
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.loopback import Handler, Server, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(Server):
    """Counts the bytes that it gives of each file in `given`; models in `gated` ask for consent."""

    def __init__(self, root: Path) -> None:
        self.root, self.given, self.gated = root, {}, set()  # type: ignore[var-annotated]
        super().__init__(_Handler)


class _Handler(Handler):
    server: Hub

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


@contextmanager
def hub(root: Path) -> Iterator[Hub]:
    """The hub of a folder of owners with models."""
    with serving(Hub(root)) as server:
        yield server
