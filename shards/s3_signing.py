"""Range requests of the form of one that botocore has signed, each signed anew for its object, range and moment."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/(?P<day>\d{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)"
    r"/aws4_request, SignedHeaders=(?P<signed>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)
_OWN: Final = frozenset(
    {
        "authorization",
        "host",
        "if-match",
        "range",
        "x-amz-checksum-mode",
        "x-amz-date",
        "x-amz-security-token",
    }
)
"""Headers that each request has of its own, or none: what a range of an object adds up to, the store does not say."""

_NUMBERED: Final = "amz-sdk-"
"""Begins headers that count the attempts of one call."""

_UNSIGNED: Final = frozenset({"accept", "accept-encoding", "connection", "user-agent"})
_BODY_HASH: Final = "x-amz-content-sha256"


class Credentials(Protocol):
    """What signs: botocore's ``ReadOnlyCredentials``."""

    access_key: str
    secret_key: str
    token: str | None


@dataclass(frozen=True)
class Form:
    """What GET requests for the objects of one bucket look like.

    ``prefix`` is the path before the object's key, ``headers`` are those that stay as they are.
    """

    secure: bool
    host: str
    prefix: str
    region: str
    service: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)

    def request(self, asked: Asked, credentials: Credentials, stamp: str) -> bytes:
        """Return a request that is signed by AWS Signature Version 4.

        Args:
            asked: the object and the bytes of it.
            credentials: what signs.
            stamp: the time in UTC, as in 20260131T235959Z.

        Raises:
            UnicodeEncodeError: a header would not be ASCII.
        """
        path = self.prefix + _quoted(asked.key)
        headers = {"host": self.host, "range": asked.range, "x-amz-date": stamp, **dict(self.headers)}
        if asked.etag is not None:
            headers["if-match"] = asked.etag
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        signed = sorted(headers.keys() - _UNSIGNED)
        place = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        signature = _signature(path, {name: headers[name] for name in signed}, place, stamp, credentials.secret_key)
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{place}, "
            f"SignedHeaders={';'.join(signed)}, Signature={signature}"
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("ascii")


@dataclass(frozen=True, slots=True)
class Asked:
    """A range of an object: its key, the first byte and the one after the last, and the entity tag it must have."""

    key: str
    start: int
    stop: int
    etag: str | None

    @property
    def range(self) -> str:
        """The header of that name."""
        return f"bytes={self.start}-{self.stop - 1}"


def learn_form(url: str, headers: Mapping[str, str], key: str, credentials: Credentials) -> Form | None:
    """Return the form of a request that was sent, or None where it cannot be repeated here.

    It can be where its signature is the one that these credentials give here, so that whatever else takes part in it
    (other credentials for each bucket, another algorithm, a query) is left to botocore.

    Args:
        url: the address that was asked.
        headers: all that were sent.
        key: the object's key.
        credentials: what may have signed it.
    """
    sent, place = {name.lower(): value for name, value in headers.items()}, urlsplit(url)
    found = _AUTHORIZATION.fullmatch(sent.get("authorization", ""))
    if found is None or place.query or not place.path.endswith("/" + _quoted(key)):
        return None
    if not _repeats(found, sent, place.path, credentials):
        return None
    kept = [(name, value) for name, value in sent.items() if name not in _OWN and not name.startswith(_NUMBERED)]
    return Form(
        secure=place.scheme == "https",
        host=sent["host"],
        prefix=place.path.removesuffix(_quoted(key)),
        region=found["region"],
        service=found["service"],
        headers=tuple(kept),
    )


def _repeats(found: re.Match[str], sent: Mapping[str, str], path: str, credentials: Credentials) -> bool:
    """Tell whether the signature that was sent comes out here, and all headers that are kept can be signed alike."""
    names, stamp = found["signed"].split(";"), sent.get("x-amz-date", "")
    if found["key"] != credentials.access_key or sent.get("x-amz-security-token") != (credentials.token or None):
        return False
    if not {"host", "range", _BODY_HASH} <= set(names) <= sent.keys() or stamp[:8] != found["day"]:
        return False
    place = f"{found['day']}/{found['region']}/{found['service']}/aws4_request"
    mine = _signature(path, {name: sent[name] for name in names}, place, stamp, credentials.secret_key)
    return hmac.compare_digest(mine, found["signature"])


def _signature(path: str, headers: Mapping[str, str], place: str, stamp: str, secret: str) -> str:
    """Sign a GET without a query.

    Source: AWS, "Signature Version 4 signing process", tasks 1 to 3; S3 does not normalise paths.
    """
    lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in headers.items())
    question = f"GET\n{path}\n\n{lines}\n{';'.join(headers)}\n{headers[_BODY_HASH]}"
    told = f"AWS4-HMAC-SHA256\n{stamp}\n{place}\n{hashlib.sha256(question.encode()).hexdigest()}"
    return hmac.digest(_signing_key(secret, place), told.encode(), "sha256").hex()


@lru_cache(maxsize=8)
def _signing_key(secret: str, place: str) -> bytes:
    """Return the key of one day, region and service."""
    key = f"AWS4{secret}".encode()
    for part in place.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=256)
def _quoted(key: str) -> str:
    return quote(key, safe="/~")
