"""File systems of fsspec: the only file that imports it, and only where there is a URL, for it takes 150 ms."""

from __future__ import annotations

import difflib
import re
from typing import Any

from data_shards.errors import SourceError
from data_shards.remote.failures import mistake

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
OBJECT_STORES = frozenset(
    {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "hf", "oci", "oss", "memory", "http", "https"}
)
"""Protocols whose files appear whole or not at all, and which have no folders to make."""
HTTP = ("http", "https")
S3 = ("s3", "s3a")
_SILENCE = 30.0  # seconds without a byte, where nothing else limits the time


def open_files(url: str) -> tuple[Any, str]:
    """The file system of a URL, one for all threads of a process, and the path in it."""
    import fsspec
    from fsspec.registry import known_implementations

    protocol = protocol_of(url)
    try:
        kind = fsspec.get_filesystem_class(protocol)
        options = {**kind._get_kwargs_from_urls(url), "use_listings_cache": False}
        for name, ours in _defaults(protocol).items():
            options[name] = {**ours, **fsspec.config.conf.get(protocol, {}).get(name, {})}
        files = kind(**options)
        if protocol in S3:
            files.retries = 1
        return files, kind._strip_protocol(url)
    except Exception as error:
        known = {name: str(entry["class"]) for name, entry in known_implementations.items()}
        if isinstance(error, ValueError) and protocol not in known:
            near = ", ".join(difflib.get_close_matches(protocol, known, 3)) or "s3, gs, abfs, http, https"
            raise SourceError(url, f"there is no protocol {protocol}://", f"there is {near}") from None
        if isinstance(error, ImportError):
            missing = getattr(error.__cause__, "name", None) or known[protocol]
            package = missing.partition(".")[0]
            given = f"{protocol}:// needs the package {package}"
            raise SourceError(url, given, "it is not installed", f"pip install {package}") from None
        raise mistake(error, url, protocol) or error from None


def _defaults(protocol: str) -> dict[str, dict[str, Any]]:
    """Options of ours, which those of the user replace."""
    if protocol in S3:
        return {"config_kwargs": {"retries": {"max_attempts": 0}, "max_pool_connections": 64}}
    if protocol in HTTP:
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=_SILENCE / 3, sock_read=_SILENCE)
        return {"client_kwargs": {"timeout": timeout, "trust_env": True}}  # the proxies of a cluster
    return {}


def protocol_of(url: str) -> str:
    match = URL.match(url)
    assert match is not None, url
    return match[1].lower()


def read_all(files: Any, path: str, limit: float) -> bytes:
    """The bytes of a file, in at most `limit` seconds."""
    # s3fs otherwise asks for the size first: two requests an image
    return _cat(files, path, limit, **({"max_concurrency": 1} if files.protocol == S3 else {}))


def read_range(files: Any, path: str, offset: int, size: int, limit: float) -> bytes:
    """`size` bytes from `offset` on; a server that knows no ranges gives all of them, more than asked for."""
    content = _cat(files, path, limit, start=offset, end=offset + size)
    return content[offset : offset + size] if len(content) > size else content


def _cat(files: Any, path: str, limit: float, **options: Any) -> bytes:
    from fsspec.asyn import sync

    if files.async_impl:
        content: bytes = sync(files.loop, files._cat_file, path, timeout=limit, **options)
    else:
        content = files.cat_file(path, **options)
    return content


def knows_ranges(files: Any, url: str) -> bool:
    """Whether a web server gives a part of a file when asked for one."""
    from fsspec.asyn import sync

    async def ask() -> bool:
        session = await files.set_session()
        options = {**files.kwargs, "headers": {**files.kwargs.get("headers", {}), "Range": "bytes=0-0"}}
        async with session.get(files.encode_url(url), **options) as response:
            return bool(response.status == 206)

    return bool(sync(files.loop, ask))


def list_page(files: Any, below: str, token: str | None = None, most: int = 1000) -> dict[str, Any]:
    """A page of an S3 listing of what begins with `below`; s3fs itself would hold all pages."""
    bucket, _, prefix = below.partition("/")
    options = {**files.req_kw, **({"ContinuationToken": token} if token else {})}
    page: dict[str, Any] = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=most, **options)
    return page
