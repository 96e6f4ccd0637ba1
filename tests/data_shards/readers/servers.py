"""Servers on loopback: S3 (moto's), nginx, and a web server that fails on purpose."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")


@contextmanager
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 endpoint with the bucket `pictures`, set in the environment; gives boto3's client."""
    boto3 = pytest.importorskip("boto3", reason="moto and s3fs come with the extra dev")
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "word",
    }
    settings |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    S3FileSystem.clear_instance_cache()
    reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")  # what other tests put there
    urllib.request.urlopen(reset).close()
    client = boto3.client("s3")
    client.create_bucket(Bucket="pictures")
    try:
        yield client
    finally:
        S3FileSystem.clear_instance_cache()
        client.close()
        server.stop()


@contextmanager
def nginx(root: Path, folder: Path, upstream: str = "http://127.0.0.1:9") -> Iterator[str]:
    """nginx serving `root`, with its own files in `folder`; gives its address.

    /secret/ is forbidden, /upstream/ is passed on, /unpacked/ knows no ranges.
    """
    port = _free_port()
    temporary = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy"))
    (folder / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
        events {{}}
        http {{
            access_log off; {temporary}
            server {{
                listen 127.0.0.1:{port}; root {root};
                location / {{ autoindex on; }}
                location /secret/ {{ return 403; }}
                location /unpacked/ {{ alias {root}/; max_ranges 0; }}
                location /upstream/ {{ proxy_pass {upstream}/; proxy_buffering off; }}
            }}
        }}""")
    assert NGINX is not None
    command = [NGINX, "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


class Faulty(http.server.ThreadingHTTPServer):
    """Answers by path, and counts the requests for each in `seen`.

    /good/…      the path        /slow/…    nothing, until the server stops
    /fails/N/…   HTTP 500 N times, then the path        /busy/N/…   the same with HTTP 429 and Retry-After: 7
    /cut/N/…     half of the path N times, then all of it        /status/N   HTTP N
    """

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Faulty

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.seen[self.path] += 1
            count = self.server.seen[self.path]
        _, kind, *rest = self.path.split("/")
        body = self.path.encode()
        if kind == "slow":
            self.server.stopped.wait()
        elif kind == "status":
            self.answer(int(rest[0]), b"")
        elif kind == "fails" and count <= int(rest[0]):
            self.answer(500, b"sorry")
        elif kind == "busy" and count <= int(rest[0]):
            self.answer(429, b"slowly", {"Retry-After": "7"})
        elif kind == "cut" and count <= int(rest[0]):
            self.answer(200, body[: len(body) // 2], {"Content-Length": str(len(body))})
        else:
            self.answer(200, body)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent."""


@contextmanager
def faulty() -> Iterator[tuple[Faulty, str]]:
    """The server that fails on purpose, and its address."""
    server = Faulty()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.01)
    raise AssertionError(f"nginx ended with {process.returncode}; as user {os.getuid()}")
