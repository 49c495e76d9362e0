"""Connections that receive bodies in place: every split of an answer, used again, none kept that is not at its end."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import random
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from shards import s3_wire
from shards.s3_wire import PIECE_BYTES, OddAnswerError, Place, Wires

DATA = random.Random(0).randbytes(3 * PIECE_BYTES + 12345)
REQUEST = b"GET /b/x HTTP/1.1\r\nHost: x\r\n\r\n"


def answer(body: bytes, *, status: str = "206 Partial Content", length: int | None = None, more: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n{more}\r\n".encode() + body
    )


class Server:
    """Answers the requests of each connection in turn: each with pieces of bytes; None ends the connection."""

    def __init__(self, *connections: Sequence[Sequence[bytes | None]]) -> None:
        self.waiting, self.open, self.ending = list(connections), 0, asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        for pieces in self.waiting.pop(0) if self.waiting else []:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                if piece is None:
                    writer.close()
                    return
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        await reader.read()
        self.ending.set()
        writer.close()

    def run(self, use: Callable[[Wires, Place], Awaitable[None]], certificate: Path | None = None) -> None:
        """Run the server and what uses it, with TLS where there is a certificate."""
        theirs, ours = _contexts(certificate) if certificate else (None, None)

        async def both() -> None:
            wires = Wires()
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=theirs)
            async with server:
                await use(wires, Place("localhost", server.sockets[0].getsockname()[1], ours))
                wires.close()
                await asyncio.sleep(0.01)

        asyncio.run(both())


def _contexts(certificate: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(certificate)
    return theirs, ssl.create_default_context(cafile=certificate)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A key and a certificate of this machine's."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - it may be absent
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - it may be absent

    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(secret + built.public_bytes(pem))
    return path


async def body(wires: Wires, place: Place, most: int = PIECE_BYTES) -> bytes:
    found, data = await wires.send(place, REQUEST, 5), bytearray()
    try:
        while len(data) < int(found.headers["content-length"]):
            data += await found.read(most)
    finally:
        found.close()
    return bytes(data)


@pytest.mark.parametrize("split", [1, 7, 60, 100_000])
@pytest.mark.parametrize("size", [0, 1, 1000, PIECE_BYTES, len(DATA)])
def test_a_body_comes_whole_however_it_is_cut(split, size):
    whole = answer(DATA[:size])
    pieces = [whole[at : at + split] for at in range(0, min(300, len(whole)), split)]
    pieces.append(whole[len(b"".join(pieces)) :])

    async def use(wires: Wires, place: Place) -> None:
        assert await body(wires, place) == DATA[:size]

    Server([pieces]).run(use)


@pytest.mark.parametrize("most", [100, 70_000, PIECE_BYTES])
def test_no_piece_is_longer_than_asked_for(most):
    async def use(wires: Wires, place: Place) -> None:
        found = await wires.send(place, REQUEST, 5)
        data = b""
        while len(data) < 300_000:
            piece = await found.read(most)
            assert 0 < len(piece) <= most
            data += bytes(piece)
        assert data == DATA[:300_000]
        found.close()

    Server([[answer(DATA[:300_000])]]).run(use)


def test_a_connection_is_used_again_after_a_whole_body():
    server = Server([[answer(DATA)], [answer(b"second")], [answer(b"")]])

    async def use(wires: Wires, place: Place) -> None:
        assert [await body(wires, place) for _ in range(3)] == [DATA, b"second", b""]

    server.run(use)
    assert server.open == 1
    assert server.ending.is_set()


def test_tls_carries_the_same(certificate):
    server = Server([[answer(DATA)], [answer(b"second")]], [[answer(DATA[:1000], length=2000), None]])

    async def use(wires: Wires, place: Place) -> None:
        assert [await body(wires, place) for _ in range(2)] == [DATA, b"second"]
        wires.close()
        found = await wires.send(place, REQUEST, 5)
        assert await found.read(1000) == DATA[:1000]
        with pytest.raises(ConnectionError):
            await found.read(1000)
        found.close()

    server.run(use, certificate)
    assert server.open == 2


def test_a_certificate_of_somebody_else_is_refused(certificate):
    async def use(wires: Wires, place: Place) -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            await wires.send(Place(place.host, place.port, ssl.create_default_context()), REQUEST, 5)

    Server([[answer(b"a")]]).run(use, certificate)


def test_it_is_not_after_half_a_body_nor_where_the_server_says_so():
    last = answer(b"old", more="Connection: close\r\n")
    server = Server([[answer(DATA)]], [[last]], [[answer(b"new")]])

    async def use(wires: Wires, place: Place) -> None:
        found = await wires.send(place, REQUEST, 5)
        await found.read(10)
        found.close()
        found.close()
        assert await body(wires, place) == b"old"
        assert await body(wires, place) == b"new"

    server.run(use)
    assert server.open == 3


def test_one_that_ended_meanwhile_is_replaced():
    server = Server([[answer(b"a")], [None]], [[answer(b"b")]])

    async def use(wires: Wires, place: Place) -> None:
        assert await body(wires, place) == b"a"
        assert await body(wires, place) == b"b"

    server.run(use)
    assert server.open == 2


def test_bytes_that_nobody_asked_for_end_a_connection():
    server = Server([[answer(b"a"), b"surprise"]], [[answer(b"b")]])

    async def use(wires: Wires, place: Place) -> None:
        assert await body(wires, place) == b"a"
        await asyncio.sleep(0.05)
        assert await body(wires, place) == b"b"

    server.run(use)
    assert server.open == 2


def test_a_body_that_ends_early_gives_what_came_then_an_error():
    async def use(wires: Wires, place: Place) -> None:
        found = await wires.send(place, REQUEST, 5)
        data = b""
        while len(data) < 200_000:
            data += bytes(await found.read(PIECE_BYTES))
        assert data == DATA[:200_000]
        with pytest.raises(ConnectionError, match="ended too early"):
            await found.read(PIECE_BYTES)
        found.close()

    Server([[answer(DATA[:200_000], length=len(DATA)), None]]).run(use)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (answer(b"busy", status="503 Slow Down"), 503),
        (answer(b"", status="301 Moved"), 301),
        (answer(b"", status="404 Not Found"), 404),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 100),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", 0),
        (b"SSH-2.0-x\r\n\r\n", 0),
        (b"HTTP/1.1 206 Partial\r\n\r\n", 206),
        (answer(b"", more="Transfer-Encoding: chunked\r\n"), 206),
        (answer(b"a", more="content-length: 2\r\n"), 206),
        (b"HTTP/1.1 206 Partial\r\nContent-Length: -1\r\n\r\n", 206),
        (answer(b"a", more='ETag: "a"\nRange: bytes=0-9\r\n'), 0),
        (answer(b"a", more='ETag: "a"\rb\r\n'), 0),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, 0),
    ],
)
def test_an_odd_answer_is_named(sent, status):
    async def use(wires: Wires, place: Place) -> None:
        with pytest.raises(OddAnswerError) as found:
            await wires.send(place, REQUEST, 5)
        assert found.value.status == status

    Server([[sent]]).run(use)


def test_no_answer_at_all():
    async def use(wires: Wires, place: Place) -> None:
        with pytest.raises(ConnectionError):
            await wires.send(place, REQUEST, 5)

    Server([[None]]).run(use)


def test_no_server():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    async def use() -> None:
        with pytest.raises(ConnectionRefusedError):
            await Wires().send(Place("127.0.0.1", port, None), REQUEST, 5)

    asyncio.run(use())


def test_a_request_that_is_given_up_leaves_room_for_others(monkeypatch):
    monkeypatch.setattr(s3_wire, "_MOST_CONNECTIONS", 2)
    server = Server([[b"HTTP/1.1 "]], [[answer(DATA[:50], length=60)]], [[answer(b"a")], [answer(b"b")]])

    async def use(wires: Wires, place: Place) -> None:
        waiting = asyncio.ensure_future(wires.send(place, REQUEST, 5))
        await asyncio.sleep(0.05)
        half = await wires.send(place, REQUEST, 5)
        third = asyncio.ensure_future(body(wires, place))
        await asyncio.sleep(0.05)
        assert not third.done(), "two are in use"
        waiting.cancel()
        assert await third == b"a"
        reading = asyncio.ensure_future(half.read(60))
        await asyncio.sleep(0.01)
        reading.cancel()
        half.close()
        await asyncio.gather(waiting, reading, return_exceptions=True)
        assert await body(wires, place) == b"b"

    server.run(use)


def test_connections_that_nobody_uses_are_ended(monkeypatch):
    monkeypatch.setattr(s3_wire, "_IDLE_SECONDS", 0.02)
    server = Server([[answer(b"a")]], [[answer(b"b")]])

    async def use(wires: Wires, place: Place) -> None:
        assert await body(wires, place) == b"a"
        await server.ending.wait()
        assert await body(wires, place) == b"b"

    server.run(use)
    assert server.open == 2


def test_a_request_given_up_at_any_moment_leaves_no_socket_open(recwarn):
    async def give_up(port: int, turns: int) -> None:
        asked = asyncio.ensure_future(Wires().send(Place("127.0.0.1", port, None), REQUEST, 5))
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked

    async def all_moments(port: int) -> None:
        for turns in range(30):
            await give_up(port, turns)

    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        asyncio.run(all_moments(silent.getsockname()[1]))
    gc.collect()
    assert [str(each.message) for each in recwarn if issubclass(each.category, ResourceWarning)] == []
