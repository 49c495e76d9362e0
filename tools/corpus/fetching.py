"""Videos from web servers, held while a block runs: in memory where they are small, else in the scratch folder."""

from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, cast

from shards.web_address import WebAddress
from shards.web_client import Manners
from shards.web_errors import WebError
from shards.web_ranges import describe
from shards.web_transfer import fetch
from tools.corpus.host_health import HostHealth
from tools.corpus.host_turns import HostTurns

_health: Final = HostHealth()
"""Of this process."""

_MEMORY_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fetching:
    """How videos are brought from elsewhere; none of this changes a byte of a dataset.

    Attributes:
        attempts: tries in a row that bring nothing new, after which a web server's file is given up.
        seconds: that one file from a web server may take.
        per_host: connections to one web host at a time from this machine.
        ahead: remote videos of a block that a process fetches before it needs them.
        memory_bytes: that the videos held by one process may take; larger ones lie in the scratch folder.
        max_bytes: of one video.

    Raises:
        ValueError: a number is out of range.
    """

    attempts: int = 4
    seconds: float = 900.0
    per_host: int = 16
    ahead: int = 4
    memory_bytes: int = _MEMORY_BYTES
    max_bytes: int = 4 << 30

    def __post_init__(self) -> None:
        for option, value, least in (
            ("--fetch-attempts", self.attempts, 1),
            ("--fetch-timeout", self.seconds, 1),
            ("--per-host", self.per_host, 1),
            ("--fetch-ahead", self.ahead, 0),
        ):
            if not value >= least:
                raise ValueError(f"{option} is {value}; it must be at least {least}")

    @property
    def manners(self) -> Manners:
        """How web servers are asked for whole videos."""
        return Manners(attempts=self.attempts, total_seconds=self.seconds, max_bytes=self.max_bytes)

    @property
    def looks(self) -> Manners:
        """How web servers are asked for a look at a video: with less patience."""
        hasty = replace(self.manners, connect_seconds=5.0, silent_seconds=10.0, slow_seconds=10.0, total_seconds=60.0)
        return replace(hasty, attempts=min(self.attempts, 2))


@contextlib.contextmanager
def fetched(address: WebAddress, scratch: Path, fetching: Fetching) -> Iterator[Path | bytes]:
    """Bring a video here and hold it.

    Raises:
        WebError: it did not come.
        OSError: this machine lacks room for it.
    """
    manners = replace(fetching.manners, attempts=_health.attempts(address.host, fetching.attempts))
    with contextlib.closing(_Spool(scratch, fetching.memory_bytes)) as spool:
        try:
            fetch(address, spool, manners, turn=HostTurns.of_machine(fetching.per_host).turn)
        except WebError as error:
            _health.note(address.host, reached=error.fault != "unreachable")
            raise
        _health.note(address.host, reached=True)
        yield spool.held()


def web_size(address: WebAddress, fetching: Fetching) -> int:
    """Return the length of a file on a web server, in bytes.

    Raises:
        WebError: it is not to be had, or its server does not say.
    """
    size = describe(address, fetching.looks).size
    if size is None:
        raise WebError("bad_answer", "its server states no length")
    return size


class _Spool:
    """A sink in memory that moves to a file when it grows beyond ``memory_bytes``."""

    def __init__(self, scratch: Path, memory_bytes: int) -> None:
        self._path = scratch / f"source-{secrets.token_hex(8)}"
        self._most = memory_bytes
        self._file: BinaryIO = io.BytesIO()

    def write(self, piece: bytes) -> None:
        if isinstance(self._file, io.BytesIO) and self._file.tell() + len(piece) > self._most:
            self._move()
        _write_all(self._file, memoryview(piece))

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()

    def held(self) -> Path | bytes:
        if isinstance(self._file, io.BytesIO):
            return self._file.getvalue()
        self._file.close()
        return self._path

    def close(self) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _move(self) -> None:
        assert isinstance(self._file, io.BytesIO)
        # Unbuffered, so that a full disk is told by the write that it stops.
        file = cast("BinaryIO", self._path.open("wb", buffering=0))
        with self._file.getbuffer() as view:
            _write_all(file, view)
        self._file = file


def _write_all(file: BinaryIO, data: memoryview) -> None:
    done = 0
    while done < len(data):
        done += file.write(data[done:])
