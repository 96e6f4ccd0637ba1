"""What the libraries below fsspec say, in our words, and whether another attempt may help.

Each protocol has its own exceptions, from packages that may not be installed. They are told apart by their names, HTTP
status and error code, and become an `OSError` of the kind that Python has for it, or a `SourceError`.
"""

from __future__ import annotations

import asyncio
import errno
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from data_shards.errors import SourceError

T = TypeVar("T")

_NO_CREDENTIALS = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "TokenRetrievalError",
        "ProfileNotFound",
        "SSOTokenLoadError",
        "UnauthorizedSSOTokenError",
        "DefaultCredentialsError",
    }
)
_BAD_CREDENTIALS = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "TokenRefreshRequired",
        "RequestTimeTooSkewed",
    }
)
_NO_BUCKET = frozenset({"NoSuchBucket", "InvalidBucketName", "bucketNotFound", "ContainerNotFound"})
_BROKEN = frozenset(
    {
        "ClientConnectionError",
        "ClientPayloadError",
        "ClientOSError",
        "ServerDisconnectedError",
        "HTTPClientError",
        "IncompleteRead",
        "IncompleteReadError",
        "ResponseParserError",
        "ResponseStreamingError",
        "ConnectionError",
        "ProtocolError",
    }
)
_LATE = frozenset({"TimeoutError", "FSTimeoutError", "ReadTimeoutError", "ConnectTimeoutError", "RequestTimeout"})
_NO_ENDPOINT = frozenset({"EndpointConnectionError", "ConnectTimeoutError"})  # botocore's: one for all images
_CERTIFICATE = frozenset({"ClientConnectorCertificateError", "SSLCertVerificationError", "SSLError"})
_PASSING_ERRNO = frozenset({errno.ETIMEDOUT, errno.ECONNRESET, errno.EPIPE, errno.EBUSY, errno.EAGAIN, errno.EREMOTEIO})
_PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 509})


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to try."""

    attempts: int = 4
    """How often a passing failure is tried, in all."""
    pause: float = 0.5
    """Mean seconds before the second attempt; doubled for each further one."""
    longest_pause: float = 30.0
    """Most seconds between two attempts."""
    time_limit: float = 60.0
    """Seconds that one attempt of `read` may take."""


PATIENCE = Patience()


class Failure(NamedTuple):
    """A failure in our words. `passing`: another attempt may do, after `wait` seconds where the server said so.

    `final` is raised in place of `error` where no attempt did.
    """

    error: OSError
    passing: bool = False
    wait: float | None = None
    final: SourceError | None = None


def attempt(action: Callable[[], T], url: str, patience: Patience | None) -> T:
    """Do it, again where it may help. Raises what is understood as `OSError` or `SourceError`."""
    patience = patience or PATIENCE
    for number in range(1, patience.attempts + 1):
        try:
            return action()
        except Exception as error:
            wrong = mistake(error, url, url.partition("://")[0])
            failure = understood(error, url) if wrong is None else None
            if wrong is not None or failure is None:
                raise wrong or error from None
            if not failure.passing or number == patience.attempts:
                raise failure.final or failure.error from None
            mean = patience.pause * 2 ** (number - 1)
            wait = failure.wait if failure.wait is not None else mean * random.uniform(0.5, 1.5)
            time.sleep(min(wait, patience.longest_pause))
    raise AssertionError("attempts is at least 1")


def mistake(error: BaseException, url: str, protocol: str) -> SourceError | None:
    """The sentence for a mistake of the whole run, if it is one."""
    names, code = _names(error), _code(error)
    if isinstance(error, SourceError):
        return error
    if names & _NO_CREDENTIALS:
        return SourceError(url, f"no credentials for {protocol}:// were found", _credentials(protocol))
    if code in _BAD_CREDENTIALS:
        return SourceError(url, f"the credentials are not accepted ({code})", _credentials(protocol))
    if code in _NO_BUCKET:
        bucket = "/".join(url.split("/")[:3])
        return SourceError(bucket, "there is no such bucket", "check its name, and the endpoint in AWS_ENDPOINT_URL")
    return None


def understood(error: BaseException, url: str) -> Failure | None:
    """A failure of one file or one attempt; None for what is a defect and keeps its traceback."""
    names, status, code = _names(error), _status(error), _code(error)
    if isinstance(error, NotImplementedError):
        return Failure(OSError(errno.EOPNOTSUPP, "its protocol cannot do that", url))
    if type(error) is ValueError or "InvalidURL" in names:
        return Failure(FileNotFoundError(errno.ENOENT, "this is no valid URL", url))
    said = f" (HTTP {status})" if status else f" ({code})" if code else ""
    passing = status in _PASSING_STATUS or code in ("SlowDown", "ServiceUnavailable", "InternalError")
    if status in (404, 410):
        return Failure(FileNotFoundError(errno.ENOENT, f"there is no such file{said}", url))
    if status in (401, 403, 407, 451):
        return Failure(PermissionError(errno.EACCES, f"access is denied{said}", url))
    if status in (408, 504):
        return Failure(TimeoutError(errno.ETIMEDOUT, f"no answer in time{said}", url), True, _wait(error))
    if status is not None and status >= 400:
        return Failure(
            ConnectionError(errno.EREMOTEIO, f"the server does not give it{said}", url), passing, _wait(error)
        )
    if names & _CERTIFICATE:
        return Failure(ConnectionError(errno.EPROTO, "the server's certificate is not valid", url))
    down = SourceError(
        url, "its server cannot be reached", "check the network and AWS_ENDPOINT_URL, and repeat the command"
    )
    final = down if names & _NO_ENDPOINT and _is_boto(error) else None
    if names & _LATE or isinstance(error, asyncio.TimeoutError):
        return Failure(TimeoutError(errno.ETIMEDOUT, "no answer in time", url), True, final=final)
    if names & _BROKEN:
        return Failure(ConnectionError(errno.ECONNABORTED, f"no connection ({_brief(error)})", url), True, final=final)
    if isinstance(error, FileNotFoundError):
        return Failure(FileNotFoundError(errno.ENOENT, "there is no such file", url))
    if isinstance(error, PermissionError):
        return Failure(PermissionError(errno.EACCES, f"access is denied{said}", url))
    if isinstance(error, OSError):
        text = error.strerror or str(error) or type(error).__name__
        return Failure(
            OSError(error.errno or errno.EIO, f"{text}{said}", url), passing or error.errno in _PASSING_ERRNO
        )
    if code is not None or _is_foreign(error):
        return Failure(OSError(errno.EIO, f"{_brief(error)}{said}", url), passing)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes: some libraries wrap what happened in something vaguer."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for link in _chain(error) for kind in type(link).__mro__}


def _status(error: BaseException) -> int | None:
    """The HTTP status: aiohttp's `status`, botocore's response, gcsfs' `code`."""
    for link in _chain(error):
        if type(link).__module__ == "aiohttp.http_exceptions":  # of a broken answer, whose code 400 is aiohttp's own
            continue
        response = getattr(link, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(link, "status", None) or getattr(link, "code", None)
        if str(status).isdigit():
            return int(str(status))
    return None


def _code(error: BaseException) -> str | None:
    """The error code of S3, a word; of a request without a body it is just the status, and none."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict):
            code = str(response.get("Error", {}).get("Code", ""))
            if code and not code.isdigit():
                return code
    return None


def _wait(error: BaseException) -> float | None:
    """Seconds after which the server wants to be asked again."""
    for link in _chain(error):
        after = str((getattr(link, "headers", None) or {}).get("Retry-After", ""))
        if after.isdigit():
            return float(after)
    return None


def _is_boto(error: BaseException) -> bool:
    return any(type(link).__module__.startswith("botocore") for link in _chain(error))


def _is_foreign(error: BaseException) -> bool:
    """Of a third-party package, whose exceptions are about its service; Python's own are about our code."""
    return type(error).__module__ != "builtins"


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__


def _credentials(protocol: str) -> str:
    if protocol in ("s3", "s3a"):
        return (
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; FSSPEC_S3_ANON=true for a public bucket"
        )
    return f"log in as its client asks, or set FSSPEC_{protocol.upper()}"
