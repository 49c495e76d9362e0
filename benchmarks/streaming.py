"""Measure reading shards from an object store on this machine against http.client, and against ``fs.open().read()``.

Run ``python -m benchmarks.streaming [--store swift|ranges] [--mebibytes 256] [--rounds 7]`` from the root. All sides
read the same object in turn, from one store in processes of its own: ``swift`` is OpenStack Swift with its S3 layer
(extra ``dev``), ``ranges`` a plain server that sends files by the kernel and is no limit to anybody. The sides:

* http.client: one GET of the whole object into one buffer that is used again and again; nothing is kept or checked.
* fs.open().read(): what s3fs gives out of the box, by one file system, which keeps its connections as ours does.
* ours, to a file: what the loader's read-ahead does, concurrent ranges to a local file, without the hash.
* ours, checked: the same through the shard cache, with SHA-256 and fsync.
* ours, clips: 400 KB pieces through memory, eight threads, as the loader reads clips before a copy is there.
* ours, neighbours: the same pieces, eight at a time by one request.

What every side delivers is hashed once, in a round that does not count, and its bytes are counted in each that does;
the exit status is 1 where it is not the object. Rates are medians; ratios are taken round by round. CPU seconds are of
this process, per gigabyte.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import mmap
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import s3fs

from benchmarks.absent import ABSENT
from benchmarks.amounts import at_least_one
from benchmarks.sides.ranges_server import ranges_server
from shards.cache import ShardCache
from shards.manifest import FileEntry, describe
from shards.store import Store, open_store
from tests.support.object_store import ObjectStoreUnavailableError, running_store, store_environment

BUCKET, NAME = "bench", "00000.tar"
CLIP_BYTES, TOGETHER, THREADS = 400_000, 8, 8
LEAST_OF_HTTP, LEAST_OF_OPEN, MOST_CPU_OF_OPEN = 0.6, 2.0, 0.5


class OtherBytesError(Exception):
    """A side read something else; the message names it."""


@dataclass
class Side:
    """One way to read the object, and what it took in each round: MB a second and CPU seconds a GB.

    ``read`` gives what it delivered, from the object's first byte to its last.
    """

    name: str
    read: Callable[[], Iterable[bytes | memoryview | mmap.mmap]]
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def check(self, sha256: str) -> None:
        """Read once, uncounted.

        Raises:
            OtherBytesError: what it delivered has another hash.
        """
        found = hashlib.sha256()
        for piece in self.read():
            found.update(piece)
        if found.hexdigest() != sha256:
            raise OtherBytesError(f"{self.name} delivered other bytes than those of the object")

    def measure(self, size: int) -> None:
        """Read once.

        Raises:
            OtherBytesError: it delivered fewer bytes, or more.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        pieces = self.read()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if (found := sum(map(len, pieces))) != size:
            raise OtherBytesError(f"{self.name} delivered {found} bytes in a round, and the object has {size}")
        self.rates.append(size / 1e6 / wall)
        self.costs.append(cpu * 1e9 / size)


@dataclass(frozen=True)
class Object:
    """What is read: its store, what the manifest would say of it, an address that http.client may ask, an endpoint."""

    store: Store
    entry: FileEntry
    address: str
    endpoint: str
    scratch: Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, the ratios and the budgets, and return the exit status.

    It is ``ABSENT`` without a store, 1 where a side delivered other bytes.
    """
    options = _options(arguments)
    try:
        sides = _measure(options)
    except ObjectStoreUnavailableError as error:
        print(f"no object store: {error}", file=sys.stderr)
        return ABSENT
    except OtherBytesError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.mebibytes} MiB from {options.store} on loopback, {options.rounds} rounds, {os.cpu_count()} cores")
    _print({side.name: side for side in sides})
    if options.json:
        found = {side.name: {"MB/s": side.rates, "CPU s/GB": side.costs} for side in sides}
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _measure(options: argparse.Namespace) -> list[Side]:
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, _served(Path(folder), options) as found:
        sides = _sides(found)
        for side in sides:  # which also warms connections and memory
            side.check(found.entry.sha256)
        for number in range(options.rounds):
            for side in sides if number % 2 else reversed(sides):
                side.measure(found.entry.bytes)
    return sides


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=["swift", "ranges"], default="swift")
    parser.add_argument("--mebibytes", type=at_least_one, default=256)
    parser.add_argument("--rounds", type=at_least_one, default=7)
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the store and copies lie; it takes user xattrs"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser.parse_args(arguments)


@contextmanager
def _served(folder: Path, options: argparse.Namespace) -> Iterator[Object]:
    data = os.urandom(options.mebibytes << 20)
    os.environ |= {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "reader-secret", "AWS_REGION": "us-east-1"}
    if options.store == "ranges":
        (folder / BUCKET).mkdir()
        (folder / BUCKET / NAME).write_bytes(data)
        with ranges_server(folder) as endpoint:
            os.environ["AWS_ENDPOINT_URL"] = endpoint
            yield _object(data, f"{endpoint}/{BUCKET}/{NAME}", endpoint, folder)
        return
    with running_store(folder / "swift") as store, store_environment(store):
        open_store(store.make_bucket(BUCKET)).put(NAME, data)
        params = {"Bucket": BUCKET, "Key": NAME}
        yield _object(data, store.client().generate_presigned_url("get_object", params), store.endpoint, folder)


def _object(data: bytes, address: str, endpoint: str, folder: Path) -> Object:
    return Object(open_store(f"s3://{BUCKET}"), describe(data), address, endpoint, folder)


def _sides(found: Object) -> list[Side]:
    size, store = found.entry.bytes, found.store
    buffer, place = memoryview(bytearray(size)), urlsplit(found.address)
    copy = found.scratch / "copy"
    copy.write_bytes(bytes(size))
    known = store.expect(NAME, size)
    pool = ThreadPoolExecutor(THREADS)
    system = s3fs.S3FileSystem(endpoint_url=found.endpoint, skip_instance_cache=True, use_listings_cache=False)

    def by_http() -> list[memoryview]:
        connection = http.client.HTTPConnection(place.netloc)
        connection.request("GET", f"{place.path}?{place.query}")
        answer, position = connection.getresponse(), 0
        while got := answer.readinto(buffer[position:]):
            position += got
        connection.close()
        return [buffer[:position]]

    def by_open() -> list[bytes]:
        with system.open(f"{BUCKET}/{NAME}") as file:
            return [file.read()]

    def to_file() -> list[mmap.mmap]:
        store.download(NAME, copy, size=size)
        return _mapped(copy)

    def checked() -> list[mmap.mmap]:
        cache = ShardCache(found.scratch / "cache", size)
        with cache.hold(store, NAME, found.entry) as path:
            found_bytes = _mapped(path)
            path.unlink()  # so that the next round fetches again
            return found_bytes

    def pieces(length: int) -> list[bytes]:
        starts = range(0, size, length)
        return list(pool.map(lambda at: store.read_range(NAME, at, min(at + length, size), known=known), starts))

    return [
        Side("http.client", by_http),
        Side("fs.open().read()", by_open),
        Side("ours, to a file", to_file),
        Side("ours, checked", checked),
        Side("ours, clips", lambda: pieces(CLIP_BYTES)),
        Side("ours, neighbours", lambda: pieces(CLIP_BYTES * TOGETHER)),
    ]


def _mapped(path: Path) -> list[mmap.mmap]:
    """Return a file's bytes, none of which is read before it is looked at."""
    with path.open("rb") as file:
        return [mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)]


def _print(sides: Mapping[str, Side]) -> None:
    print(f"{'':18} {'MB/s':>7} {'CPU s/GB':>9} {'of http':>9} {'of open':>9} {'CPU of open':>12}")
    for side in sides.values():
        http_ratio = _ratio(side.rates, sides["http.client"].rates)
        open_ratio = _ratio(side.rates, sides["fs.open().read()"].rates)
        cost_ratio = _ratio(side.costs, sides["fs.open().read()"].costs)
        rate, cost = statistics.median(side.rates), statistics.median(side.costs)
        print(f"{side.name:18} {rate:7.0f} {cost:9.2f} {http_ratio:9.2f} {open_ratio:9.2f} {cost_ratio:12.2f}")
    print(
        f"budgets of reading to a file: {LEAST_OF_HTTP} of http.client, {LEAST_OF_OPEN} of fs.open().read(), ", end=""
    )
    print(f"at most {MOST_CPU_OF_OPEN} of its CPU")


def _ratio(mine: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))


if __name__ == "__main__":
    raise SystemExit(main())
