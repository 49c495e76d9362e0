"""Requests that are signed here are those that botocore signs; what it signs otherwise is left to it."""

from __future__ import annotations

import datetime as dt
from unittest import mock

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from shards.s3_signing import Asked, Form, learn_form

LASTING = ReadOnlyCredentials("AKIDEXAMPLE", "wJalr/XUtn+FEMI", None)
PASSING = ReadOnlyCredentials("ASIAEXAMPLE", "other/secret", "to+ken==")
NOON = dt.datetime(2026, 1, 31, 12, 0, 0, tzinfo=dt.UTC)
STAMP = "20260131T120000Z"


def signed(url: str, credentials=LASTING, *, region: str = "eu-west-1", **more: str) -> dict[str, str]:
    """Return the headers of a GET as botocore signs it and aiohttp sends it."""
    request = AWSRequest("GET", url, {"Range": "bytes=5-104", "x-amz-checksum-mode": "ENABLED", **more})
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOON):
        S3SigV4Auth(credentials, "s3", region).add_auth(request)
    extra = {"Host": url.split("/")[2], "User-Agent": "made by hand", "amz-sdk-invocation-id": "1", "Accept": "*/*"}
    return dict(request.headers.items()) | extra


def headers_of(request: bytes) -> dict[str, str]:
    lines = request.decode().removesuffix("\r\n\r\n").split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines)


def form(url: str = "http://store:9000/b/x", key: str = "x", credentials=LASTING) -> Form:
    found = learn_form(url, signed(url, credentials), key, credentials)
    assert found is not None
    return found


@pytest.mark.parametrize("credentials", [LASTING, PASSING])
@pytest.mark.parametrize("key", ["x", "a/b c+d/ü~(1)=&%.tar"])
@pytest.mark.parametrize("etag", [None, '"abc"'])
def test_a_request_is_signed_as_botocore_does(credentials, key, etag):
    made = form(credentials=credentials).request(Asked(key, 10, 20, etag), credentials, STAMP)
    path = made.split(b" ")[1].decode()
    request = AWSRequest(
        "GET", f"http://store:9000{path}", {"Range": "bytes=10-19"} | ({"If-Match": etag} if etag else {})
    )
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOON):
        S3SigV4Auth(credentials, "s3", "eu-west-1").add_auth(request)
    mine = headers_of(made)
    assert mine["authorization"] == request.headers["Authorization"]
    assert mine.get("x-amz-security-token") == credentials.token
    assert made.startswith(b"GET /b/")
    assert made.endswith(b"\r\n\r\n")


def test_what_stays_and_what_does_not():
    mine = headers_of(form().request(Asked("x", 0, 1, None), LASTING, STAMP))
    assert mine["user-agent"] == "made by hand"
    assert mine["range"] == "bytes=0-0"
    assert not mine.keys() & {"x-amz-checksum-mode", "amz-sdk-invocation-id", "if-match"}


def test_new_credentials_sign_what_follows():
    mine = headers_of(form().request(Asked("x", 0, 1, None), PASSING, STAMP))
    assert "Credential=ASIAEXAMPLE/" in mine["authorization"]
    assert "x-amz-security-token" in mine["authorization"]
    assert LASTING.access_key not in str(mine)


def test_each_day_has_its_key():
    made = form()
    first, second = (headers_of(made.request(Asked("x", 0, 1, None), LASTING, f"2026013{day}T000000Z")) for day in "01")
    assert "/20260130/" in first["authorization"]
    assert "/20260131/" in second["authorization"]
    assert first["authorization"][-64:] != second["authorization"][-64:]


def test_a_bucket_may_be_part_of_the_host():
    made = form("https://b.s3.eu-west-1.amazonaws.com/deep/x", "deep/x")
    assert (made.secure, made.host, made.prefix) == (True, "b.s3.eu-west-1.amazonaws.com", "/")


def changed(**what: str | None) -> dict[str, str]:
    sent = {name.lower(): value for name, value in signed("http://store/b/x").items()} | what
    return {name: value for name, value in sent.items() if value is not None}


@pytest.mark.parametrize(
    "sent",
    [
        changed(authorization=None),
        changed(authorization="AWS AKIDEXAMPLE:abc"),
        changed(authorization=changed()["authorization"].replace("/s3/", "/s3express/")),
        changed(authorization=changed()["authorization"].replace("AKIDEXAMPLE", "OTHER")),
        changed(authorization=changed()["authorization"][:-1] + "g"),
        changed(range="bytes=0-9"),
        changed(**{"x-amz-date": "20260130T120000Z"}),
        changed(**{"x-amz-security-token": "token"}),
        changed(**{"x-amz-content-sha256": None}),
    ],
)
def test_a_signature_that_does_not_come_out_is_left_to_botocore(sent):
    assert learn_form("http://store/b/x", sent, "x", LASTING) is None


def test_so_are_addresses_of_another_kind():
    assert learn_form("http://store/b/x", changed(), "x", LASTING) is not None
    assert learn_form("http://store/b/x", changed(), "y", LASTING) is None
    assert learn_form("http://store/b/x?versionId=1", changed(), "x", LASTING) is None
    assert learn_form("http://store/b/x", changed(), "x", PASSING) is None


def test_nothing_secret_is_shown():
    assert LASTING.secret_key not in repr(form())
