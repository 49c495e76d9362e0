"""Files of web servers come whole or with the reason, whatever goes wrong on the way, and no bound is overrun."""

from __future__ import annotations

import gzip
import io
import math
import random
import ssl
import zlib
from email.message import Message
from types import SimpleNamespace

import pytest

from shards import web_client, web_pace
from shards.web_address import parse_address
from shards.web_client import Manners
from shards.web_errors import WebError
from shards.web_ranges import describe, fetch_range
from shards.web_transfer import _Progress, _take, fetch
from tests.support.fault_server import FaultPlan, FaultServer, running_server

DATA = random.Random(0).randbytes(300_001)
QUICK = Manners(
    connect_seconds=2, silent_seconds=0.25, slow_seconds=0.2, total_seconds=20, attempts=3, first_pause=0.001
)


class Sink(io.BytesIO):
    """Bytes in memory."""

    def restart(self):
        self.seek(0)
        self.truncate()


def serve(kind=None, *, times=None, **more):
    plan = FaultPlan(1.0, (kind,), times=times) if kind else FaultPlan()
    return running_server(FaultServer({"/a b.mp4": DATA}, plan, stall_seconds=2, **more))


def bring(server, name="/a b.mp4?x=1", manners=QUICK):
    sink = Sink()
    fetch(parse_address(server.url + name), sink, manners)
    return sink.getvalue()


def failure(server, name="/a b.mp4", manners=QUICK):
    with pytest.raises(WebError) as caught:
        bring(server, name, manners)
    return caught.value


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("kind", [None, "busy", "reset", "early_reset", "truncated", "short", "long"])
def test_a_passing_fault_leaves_no_trace(kind, ranges):
    with serve(kind, times=1, ranges=ranges) as server:
        assert bring(server) == DATA
        assert server.requests["/a b.mp4"] == 1 if kind is None else server.requests["/a b.mp4"] > 1


@pytest.mark.parametrize(
    ("kind", "fault", "requests"),
    [
        ("busy", "server_error", 3),
        ("missing", "not_found", 1),
        ("forbidden", "forbidden", 1),
        ("reset", "broken_transfer", 3),
        ("early_reset", "broken_transfer", 3),
        ("stall", "too_slow", 1),
        ("dribble", "too_slow", 1),
        ("truncated", "wrong_length", 3),
        ("short", "wrong_length", 3),
        ("long", "wrong_length", 3),
        ("loop", "bad_redirect", 2),
    ],
)
def test_a_lasting_fault_has_its_name(kind, fault, requests):
    with serve(kind, ranges=False) as server:
        assert failure(server).fault == fault
        assert server.requests["/a b.mp4"] == requests


def test_what_broke_off_is_resumed_at_its_last_byte():
    with serve("truncated", times=1) as server:
        assert bring(server) == DATA
        assert server.asked[1][1]["Range"] == f"bytes={len(DATA) // 2}-"
        assert server.asked[1][1]["If-Range"] == server.etag(DATA)


def test_a_file_that_changed_meanwhile_comes_from_its_beginning():
    with serve("truncated", times=1) as server:
        changed = DATA[::-1]
        server.on_request = lambda number: number == 2 and server.files.update({"/a b.mp4": changed})
        assert bring(server) == changed


@pytest.mark.parametrize("change", [b"longer", None])
def test_a_change_that_no_tag_tells_is_seen_by_the_length(change):
    with serve("truncated", times=1, etags=False) as server:
        new = DATA[::-1] + change if change else DATA[: len(DATA) // 4]
        server.on_request = lambda number: number == 2 and server.files.update({"/a b.mp4": new})
        assert bring(server) == new


def test_a_rest_that_is_longer_than_its_own_range_is_no_file():
    rest = io.BytesIO(b"rest and more")
    head = Message()
    head["Content-Range"] = "bytes 4-7/8"
    answer = SimpleNamespace(status=206, headers=head, length=13, read=rest.read, has_more=lambda: False)
    sink, progress = Sink(b"head"), _Progress(at=4, total=8, until=math.inf)
    sink.seek(4)
    with pytest.raises(WebError, match="more bytes than it says"):
        _take(answer, progress, sink, QUICK)
    assert (progress.at, sink.getvalue()) == (0, b"")


def test_a_server_that_gives_a_little_at_a_time_is_not_asked_for_ever():
    with serve("truncated") as server:
        assert failure(server).fault == "wrong_length"
        assert server.requests["/a b.mp4"] == 4 * QUICK.attempts


def test_bytes_are_bounded_before_and_while_they_come():
    small = Manners(max_bytes=len(DATA) - 1, attempts=3)
    with serve() as server:
        assert failure(server, manners=small).fault == "too_large"
        assert server.requests["/a b.mp4"] == 1
    bomb = gzip.compress(bytes(3_000_000))
    with running_server(FaultServer({"/bomb": bomb}, headers={"Content-Encoding": "gzip"})) as server:
        sink = Sink()
        with pytest.raises(WebError, match="more bytes than the 300000"):
            fetch(parse_address(server.url + "/bomb"), sink, small)
        assert sink.tell() < 1_000_000


def test_time_is_bounded_in_all():
    with serve("busy") as server:
        assert failure(server, manners=Manners(total_seconds=0.2, first_pause=5)).fault == "server_error"
        assert server.requests["/a b.mp4"] == 1
    with serve() as server:
        assert "did not come in 0 s" in str(failure(server, manners=Manners(total_seconds=0)))


@pytest.mark.parametrize(
    ("header", "requests", "said"),
    [
        ("0", 3, "status 503"),
        ("3600", 1, "left alone"),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 1, "left alone"),
        ("?", 3, ""),
    ],
)
def test_a_server_is_left_alone_for_as_long_as_it_asks_or_given_up(header, requests, said):
    with serve("busy", headers={"Retry-After": header}) as server:
        error = failure(server)
        assert (error.fault, server.requests["/a b.mp4"]) == ("server_error", requests)
        assert said in str(error)


def test_pauses_grow_by_chance_and_honour_the_server(monkeypatch):
    pauses = []
    monkeypatch.setattr(web_pace.time, "sleep", pauses.append)
    manners = Manners(attempts=6, first_pause=1, longest_pause=3)
    with serve("busy") as server:
        failure(server, manners=manners)
    for pause, (least, most) in zip(pauses, [(0.5, 1), (1, 2), (1.5, 3), (1.5, 3), (1.5, 3)], strict=True):
        assert least <= pause <= most
    del pauses[:]
    with serve("busy", headers={"Retry-After": "7"}) as server:
        failure(server, manners=manners)
    assert pauses == [7.0] * 5


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("gzip", lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:])),
        ("deflate", zlib.compress),
        ("identity", bytes),
        ("aws-chunked", bytes),
    ],
)
def test_a_body_that_was_compressed_for_the_way_is_unpacked(encoding, pack):
    packed = pack(DATA)
    with running_server(FaultServer({"/a": packed}, headers={"Content-Encoding": encoding})) as server:
        assert bring(server, "/a") == DATA
        assert server.asked[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(("encoding", "cut"), [("gzip", 5), ("gzip", -1), ("br", 0)])
def test_a_compressed_body_that_cannot_be_unpacked_is_no_file(encoding, cut):
    body = DATA if encoding == "br" else gzip.compress(DATA)[: -cut if cut > 0 else None]
    body = DATA if cut < 0 else body
    with running_server(FaultServer({"/a": body}, headers={"Content-Encoding": encoding})) as server:
        assert failure(server, "/a").fault == ("wrong_length" if cut > 0 else "bad_answer")


def test_a_broken_compressed_body_is_asked_for_whole_again():
    packed = gzip.compress(DATA)
    plan = FaultPlan(1.0, ("truncated",), times=1)
    with running_server(FaultServer({"/a": packed}, plan, headers={"Content-Encoding": "gzip"})) as server:
        assert bring(server, "/a") == DATA
        assert "Range" not in server.asked[1][1]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_look_at_a_file_tells_its_length(ranges):
    with serve(ranges=ranges) as server:
        found = describe(parse_address(server.url + "/a b.mp4"), QUICK)
        assert (found.size, found.etag) == (len(DATA), server.etag(DATA))


def test_an_empty_file_has_no_bytes():
    with running_server(FaultServer({"/empty": b""})) as server:
        assert describe(parse_address(server.url + "/empty"), QUICK).size == 0
        assert bring(server, "/empty") == b""


def test_ranges_are_exact_or_an_error():
    with serve() as server:
        address = parse_address(server.url + "/a b.mp4")
        assert fetch_range(address, range(10, 20), server.etag(DATA), QUICK) == DATA[10:20]
        assert fetch_range(address, range(5, 5), None, QUICK) == b""
        with pytest.raises(WebError, match="changed"):
            fetch_range(address, range(10, 20), '"other"', QUICK)
        with pytest.raises(WebError, match="another range"):
            fetch_range(address, range(len(DATA) - 5, len(DATA) + 5), None, QUICK)
    with serve(ranges=False) as server:
        address = parse_address(server.url + "/a b.mp4")
        assert fetch_range(address, range(20), None, QUICK) == DATA[:20]
        with pytest.raises(WebError, match="whole files only"):
            fetch_range(address, range(10, 20), None, QUICK)
    with serve("truncated", times=1) as server:
        assert fetch_range(parse_address(server.url + "/a b.mp4"), range(99), None, QUICK) == DATA[:99]


def test_redirects_are_followed_within_bounds():
    chain = {f"/{n}": f"/{n + 1}" for n in range(8)}
    with serve(redirects=chain | {"/8": "/a%20b.mp4", "/x": "/y", "/y": "/x"}) as server:
        assert bring(server, "/1") == DATA
        assert "more than 8 times" in str(failure(server, "/0"))
        assert "circle" in str(failure(server, "/x"))


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:text/plain,x", "s3://bucket/a", "http://", "http://a b/"],
)
def test_redirects_to_other_schemes_are_refused(location):
    with serve(redirects={"/r": location}) as server:
        error = failure(server, "/r")
        assert error.fault == "bad_redirect"
        assert "passwd" not in str(error)


def test_a_public_host_cannot_redirect_into_a_private_network(monkeypatch):
    with serve(redirects={"/r": "/a%20b.mp4"}) as server:
        kinds = iter(["public", "private"])
        monkeypatch.setattr(web_client, "network_of", lambda ip: next(kinds))
        error = failure(server, "/r")
        assert (error.fault, server.requests["/a b.mp4"]) == ("bad_redirect", 0)
        assert "into a private network" in str(error)


def test_a_machines_own_services_are_never_asked(monkeypatch):
    monkeypatch.setattr(web_client, "network_of", lambda ip: "never")
    with serve() as server:
        assert failure(server).fault == "outside_root"
        assert server.asked == []


def test_credentials_go_to_their_own_server_only():
    with serve() as second, serve(redirects={"/r": f"{second.url}/a%20b.mp4", "/same": "/a%20b.mp4"}) as first:
        url = first.url.replace("http://", "http://me:geheim@")
        for name in ("/r", "/same"):
            fetch(parse_address(url + name), Sink(), QUICK)
        assert [("Authorization" in headers) for _, headers in first.asked] == [True] * 3
        assert "Authorization" not in second.asked[0][1]


def test_a_server_that_is_not_there_or_speaks_something_else():
    assert failure_of("http://127.0.0.1:9/a").fault == "unreachable"
    error = failure_of("http://no-such-host.invalid/a")
    assert error.fault == "unreachable"
    with serve() as server:
        assert failure_of(server.url.replace("http", "https") + "/a").fault == "unreachable"


def test_a_certificate_that_is_not_valid_is_named(monkeypatch):
    def refuse(self):
        error = ssl.SSLCertVerificationError(1, "certificate verify failed")
        error.verify_message = "self-signed certificate"
        raise error

    monkeypatch.setattr(web_client.http.client.HTTPSConnection, "connect", refuse)
    error = failure_of("https://127.0.0.1:9/a")
    assert (error.fault, error.passing) == ("unreachable", False)
    assert "self-signed certificate" in str(error)


def failure_of(url):
    with pytest.raises(WebError) as caught:
        fetch(parse_address(url), Sink(), QUICK)
    return caught.value


def test_a_proxy_is_used_but_for_this_machine(monkeypatch):
    with serve() as server:
        monkeypatch.setenv("http_proxy", server.url.replace("http://", "http://me:pw@"))
        server.files["/there.mp4"] = b"by proxy"
        sink = Sink()
        fetch(parse_address("http://far.example/there.mp4"), sink, QUICK)
        assert sink.getvalue() == b"by proxy"
        assert server.asked[-1][0] == "http://far.example/there.mp4"
        assert server.asked[-1][1]["Proxy-Authorization"].startswith("Basic ")
        bring(server)
        assert server.asked[-1][0] == "/a%20b.mp4?x=1"
        monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
        assert "no http:// proxy" in str(failure_of("http://far.example/there.mp4"))


def test_a_full_disk_is_no_fault_of_the_server():
    class Full(Sink):
        def write(self, piece):
            raise OSError(28, "No space left on device")

    with serve() as server, pytest.raises(OSError, match="No space") as caught:
        fetch(parse_address(server.url + "/a%20b.mp4"), Full(), QUICK)
    assert not isinstance(caught.value, WebError)
