"""S3 through s3fs: the client's time-outs and retries, downloads by concurrent ranges, uploads in bounded memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import botocore.exceptions  # type: ignore[import-untyped]  # it has no types

from shards.errors import BrokenTransferError, TransferError, errors_of

if TYPE_CHECKING:
    import s3fs

_PIECE_BYTES: Final = 1 << 20
_UPLOAD_PART_BYTES: Final = 16 << 20
_UPLOAD_STREAMS: Final = 4
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 8.0
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
_BUSY: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_REFUSALS: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""Answers to credentials that are wrong, expired or too weak; of an expired token it is the first."""

_TAKEN: Final = frozenset({HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT})
"""Answers to a write that must find its key free: it is not, or another write to it is under way."""

_BROKEN_BODY: Final = (
    ConnectionError,
    TimeoutError,
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
)
"""What a body that stops in the middle raises, beside aiohttp's errors; none says that the request itself was wrong."""

_HTTP_ERROR: Final = {"aiohttp": "ClientError"}
_HTTP_ANSWER: Final = {"aiohttp": "ClientResponseError"}
_BROKEN_HTTP: Final = {"aiohttp.client_exceptions": "ClientConnectionError", "aiohttp": "ClientPayloadError"}


@dataclass(frozen=True)
class Patience:
    """How long a store may keep us waiting.

    ``connect_seconds`` and ``read_seconds`` bound one connection attempt and one silent stretch of a transfer;
    ``attempts`` bounds how often a request is sent, and how often a body may break without a byte of progress.
    """

    connect_seconds: float = 10.0
    read_seconds: float = 60.0
    attempts: int = 5


Write = Callable[[int, bytes], None]
"""Takes a piece of an object: its byte offset and its bytes. Pieces come in any order, from another thread."""


@dataclass(frozen=True)
class Transfer:
    """What to fetch of an object and where to put it: byte ranges, how many of them at a time, who takes the bytes."""

    ranges: Sequence[range]
    streams: int
    write: Write


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


def download_parts(
    system: s3fs.S3FileSystem,
    url: str,
    etag: str | None,
    transfer: Transfer,
    patience: Patience,
) -> None:
    """Stream byte ranges of one object to ``transfer.write``, ``transfer.streams`` of them at a time.

    A body that breaks is resumed by range from its last byte. Every request carries the entity tag, so that parts of
    two versions of an object never mix. An interrupt of the calling thread cancels what is on its way.

    Raises:
        TransferError: a body broke ``patience.attempts`` times in a row without progress, the object changed, or the
            server sent another range.
        ClientError, BotoCoreError, OSError: what s3fs raises after its retries.
    """
    bucket, key, _ = system.split_path(url)
    request = {"Bucket": bucket, "Key": key} | ({"IfMatch": etag} if etag else {})
    todo = iter(transfer.ranges)

    async def work() -> None:
        for part in todo:
            await _download_part(system, request, part, transfer.write, patience)

    async def work_all() -> None:
        tasks = [asyncio.ensure_future(work()) for _ in range(min(transfer.streams, len(transfer.ranges)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    future = asyncio.run_coroutine_threadsafe(work_all(), system.loop)
    try:
        future.result()
    finally:
        future.cancel()


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
        if _status(error) in _TAKEN:
            return False
        if _status(error) != HTTPStatus.NOT_IMPLEMENTED:
            raise
        if system.exists(url):
            return False
        system.pipe_file(url, data)
    return True


async def _download_part(
    system: s3fs.S3FileSystem,
    request: dict[str, Any],
    part: range,
    write: Write,
    patience: Patience,
) -> None:
    """Bring one range home, resuming a broken body where it broke."""
    position, failures = part.start, 0
    while position < part.stop:
        body = await _open_body(system, request, position, part.stop)
        before = position
        problem, kind = "the body ended early", TransferError
        try:
            while piece := await body.read(_PIECE_BYTES):
                write(position, piece)
                position += len(piece)
        except (*_BROKEN_BODY, *errors_of(_HTTP_ERROR)) as error:
            problem, kind = f"{type(error).__name__}: {error}", BrokenTransferError
        finally:
            body.close()
        failures = 0 if position > before else failures + 1
        if failures >= patience.attempts:
            raise kind(f"bytes {position} to {part.stop} did not come in {failures} attempts: {problem}")
        if position < part.stop:
            await asyncio.sleep(min(_FIRST_PAUSE * 2**failures, _LONGEST_PAUSE))


async def _open_body(system: s3fs.S3FileSystem, request: dict[str, Any], start: int, stop: int) -> Any:  # noqa: ANN401
    """Ask for a range and return the body to read, once the answer is known to be that range."""
    try:
        answer = await system._call_s3("get_object", Range=f"bytes={start}-{stop - 1}", **request)  # noqa: SLF001
    except OSError as error:
        if _status(error) == HTTPStatus.PRECONDITION_FAILED:
            raise TransferError("the object changed while it was read") from None
        raise
    sent = answer.get("ContentRange", f"bytes {start}-{start + answer['ContentLength'] - 1}/")
    if not sent.startswith(f"bytes {start}-{stop - 1}/"):
        answer["Body"].close()
        raise TransferError(f"bytes {start} to {stop} were asked for, the server sent {sent!r}")
    return answer["Body"]


def is_outage(error: BaseException) -> bool:
    """Tell whether an error says that the store failed, not that one object did: no connection, or a server's fault."""
    if (status := _status(error)) is not None:
        return status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, botocore.exceptions.BotoCoreError):
        return not isinstance(error, botocore.exceptions.ParamValidationError)
    return isinstance(error, errors_of(_BROKEN_HTTP))


def is_refused(system: s3fs.S3FileSystem, url: str, error: BaseException) -> bool:
    """Tell whether an error is the store's refusal of our credentials for the whole bucket.

    An answer without a body (to HEAD) does not say what was refused, so the bucket itself is asked for.
    """
    if _status(error) not in _REFUSALS:
        return False
    bucket, _, _ = system.split_path(url)
    try:
        system.call_s3("head_bucket", Bucket=bucket)
    except (OSError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, *errors_of(_HTTP_ERROR)):
        return True
    return False


def _status(error: BaseException) -> int | None:
    """Return the HTTP status behind an error; s3fs keeps botocore's error, which holds the answer, as the cause."""
    for one in (error, error.__cause__):
        if isinstance(one, errors_of(_HTTP_ANSWER)):
            return cast("int", one.status)  # type: ignore[attr-defined]  # a class that is looked up has no type
        if isinstance(one, botocore.exceptions.ClientError):
            status: int | None = one.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            return status
    return None
