"""S3 through s3fs: the client's time-outs and retries, uploads in bounded memory, what its errors mean."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import botocore.exceptions  # type: ignore[import-untyped]  # it has no types

from shards.errors import TransferError, errors_of
from shards.traffic import Watch

if TYPE_CHECKING:
    import s3fs

_UPLOAD_PART_BYTES: Final = 16 << 20
_UPLOAD_STREAMS: Final = 4
_MOST_CONNECTIONS: Final = 64
_VARIABLES: Final = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
)
BUSY: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""Answers below 500 that say nothing against the request."""

_REFUSALS: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""Answers to credentials that are wrong, expired or too weak; of an expired token it is the first."""

_TAKEN: Final = frozenset({HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT})
"""Answers to a write that must find its key free: it is not, or another write to it is under way."""

_HTTP_ERROR: Final = {"aiohttp": "ClientError"}
_HTTP_ANSWER: Final = {"aiohttp": "ClientResponseError"}
_BROKEN_HTTP: Final = {"aiohttp.client_exceptions": "ClientConnectionError", "aiohttp": "ClientPayloadError"}


@dataclass(frozen=True)
class Patience:
    """How long a store may keep us waiting.

    ``connect_seconds`` and ``read_seconds`` bound one connection attempt and one silent stretch of a transfer (S3's are
    given up sooner, by the store's own pace); ``attempts`` bounds how often a request is sent, and how often a body may
    break without a byte of progress.
    """

    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    attempts: int = 5


Write = Callable[[int, bytes | memoryview], None]
"""Takes a piece of an object: its byte offset and its bytes, which are its own until it returns.

Pieces come in any order, from another thread.
"""


@dataclass(slots=True)
class Version:
    """What is known of an object that is read: its length in bytes, and its entity tag once an answer has told it."""

    size: int | None
    etag: str | None = None

    def learn(self, size: int | None, etag: str | None) -> None:
        """Take note of what an answer says.

        Raises:
            TransferError: it is another length or tag than the one known.
        """
        if self.size is not None and size is not None and size != self.size:
            raise TransferError(f"it has {size} bytes, expected are {self.size}")
        if self.etag is not None and etag is not None and etag != self.etag:
            raise TransferError("the object changed while it was read")
        self.etag = self.etag or etag


@dataclass(frozen=True)
class Transfer:
    """What to fetch of an object and where to put it: byte ranges, how many of them at a time, who takes the bytes.

    ``version`` holds what answers say of the object, from one transfer to the next; ``watch`` is told what it took;
    once ``stop`` is set it is given up. All three are for S3 alone.
    """

    ranges: Sequence[range]
    streams: int
    write: Write
    version: Version | None = None
    watch: Watch | None = None
    stop: threading.Event | None = None


def environment() -> tuple[str | None, ...]:
    """Return the values of the variables that a client is built from, so that a change of them gets a new client."""
    return tuple(os.environ.get(variable) for variable in _VARIABLES)


def connect(patience: Patience) -> s3fs.S3FileSystem:
    """Build the file system of this process from the usual AWS variables.

    Path-style addresses are used where an endpoint is given, for such stores often have no wildcard DNS name.
    """
    import s3fs  # noqa: PLC0415  # with aiohttp it takes a third of a worker's start, and only buckets need it

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    config: dict[str, Any] = {
        "connect_timeout": patience.connect_seconds,
        "read_timeout": patience.read_seconds,
        "max_pool_connections": _MOST_CONNECTIONS,
        "retries": {"total_max_attempts": patience.attempts, "mode": "standard"},
    }
    if endpoint:
        config["s3"] = {"addressing_style": "path"}
        region = region or "us-east-1"
    system = s3fs.S3FileSystem(
        endpoint_url=endpoint,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs=config,
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    system.retries = 2  # botocore retries below it
    return system


def upload_file(system: s3fs.S3FileSystem, source: Path, url: str) -> None:
    """Upload a local file; big ones in parts of 16 MiB, four at a time, that become visible together."""
    system.put_file(
        str(source),
        url,
        chunksize=_UPLOAD_PART_BYTES,
        max_concurrency=_UPLOAD_STREAMS,
    )


def create_object(system: s3fs.S3FileSystem, url: str, data: bytes) -> bool:
    """Store a small object under a free key; tell whether it was free.

    Stores without conditional writes are asked first whether the key is free, which is two steps.
    """
    bucket, key, _ = system.split_path(url)
    try:
        system.call_s3("put_object", Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
    except OSError as error:
        if http_status(error) in _TAKEN:
            return False
        if http_status(error) != HTTPStatus.NOT_IMPLEMENTED:
            raise
        if system.exists(url):
            return False
        system.pipe_file(url, data)
    return True


def is_outage(error: BaseException) -> bool:
    """Tell whether an error says that the store failed, not that one object did: no connection, or a server's fault."""
    if (status := http_status(error)) is not None:
        return status in BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, botocore.exceptions.BotoCoreError):
        return not isinstance(error, botocore.exceptions.ParamValidationError)
    return isinstance(error, errors_of(_BROKEN_HTTP))


def is_refused(system: s3fs.S3FileSystem, url: str, error: BaseException) -> bool:
    """Tell whether an error is the store's refusal of our credentials for the whole bucket.

    An answer without a body (to HEAD) does not say what was refused, so the bucket itself is asked for.
    """
    if http_status(error) not in _REFUSALS:
        return False
    bucket, _, _ = system.split_path(url)
    try:
        system.call_s3("head_bucket", Bucket=bucket)
    except (OSError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, *errors_of(_HTTP_ERROR)):
        return True
    return False


def http_status(error: BaseException) -> int | None:
    """Return the HTTP status behind an error; s3fs keeps botocore's error, which holds the answer, as the cause."""
    for one in (error, error.__cause__):
        if isinstance(one, errors_of(_HTTP_ANSWER)):
            return cast("int", one.status)  # type: ignore[attr-defined]  # a class that is looked up has no type
        if isinstance(one, botocore.exceptions.ClientError):
            status: int | None = one.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status
    return None
