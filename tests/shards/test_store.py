"""Local folders and buckets answer alike, whole or by name of what failed, over a network that breaks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import io
import os
import pickle
import random
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import botocore.exceptions
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from fsspec.asyn import sync_wrapper
from s3fs.errors import translate_boto_error

from shards.errors import StoreOutageError, concerns_all_files, redact, store_error
from shards.s3 import Transfer
from shards.store import NotFoundError, Patience, Store, StoreError, open_store, split_url
from tests.support.fault_proxy import Fault, FaultProxy, running_proxy
from tests.support.object_store import ObjectStore

ROOT = Path(__file__).parents[2]
QUICK = Patience(connect_seconds=2, read_seconds=1, attempts=3)
SHORT = Patience(connect_seconds=1, read_seconds=0.3, attempts=1)
DATA = random.Random(0).randbytes(1_000_003)


@pytest.fixture(params=["local", "s3", "memory"])
def store(request, tmp_path) -> Store:
    """An empty store of each kind; the bucket's folder is new for each test."""
    if request.param == "local":
        return open_store(tmp_path / "store")
    if request.param == "memory":
        return open_store(f"memory://{tmp_path.name}/{request.node.name}")
    bucket = bucket_of(request.getfixturevalue("object_store"), "store")
    return open_store(f"{bucket}/{tmp_path.parent.name}/{tmp_path.name}")


@pytest.fixture
def proxy(object_store, monkeypatch) -> contextlib.AbstractContextManager[FaultProxy]:
    """A proxy before the object store, and the environment that leads through it."""
    with running_proxy(urlsplit(object_store.endpoint).port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@functools.cache
def bucket_of(object_store: ObjectStore, name: str) -> str:
    """Make a bucket once: a client of its own for every test would take most of the time."""
    return object_store.make_bucket(name)


def remote(object_store, folder: str, patience: Patience = QUICK) -> Store:
    return open_store(f"{bucket_of(object_store, 'faults')}/{folder}", patience=patience)


def test_what_is_put_is_read(store, tmp_path):
    store.put("a/b.bin", DATA)
    assert store.read("a/b.bin") == DATA
    assert store.stat("a/b.bin").size == len(DATA)
    assert store.exists("a/b.bin")
    store.put("a/b.bin", b"new")
    assert store.read("a/b.bin") == b"new"
    store.delete("a/b.bin")
    assert not store.exists("a/b.bin")
    assert not store.exists("a")


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 1), (10, 70_000), (1_000_002, 1_000_003), (0, 1_000_003)])
def test_ranges_are_exact(store, start, stop):
    store.put("x", DATA)
    assert store.read_range("x", start, stop) == DATA[start:stop]


def test_a_range_beyond_the_end_is_an_error_and_never_a_short_read(store):
    store.put("x", DATA)
    with pytest.raises(StoreError, match=f"cannot read .*x: bytes 10 to {len(DATA) + 1} were asked for"):
        store.read_range("x", 10, len(DATA) + 1)
    with pytest.raises(ValueError, match="no range"):
        store.read_range("x", 5, 4)


@pytest.mark.parametrize("size", [0, 1, 4096, 1_000_003])
@pytest.mark.parametrize("part_bytes", [100_000, 8 << 20])
def test_downloads_are_whole_whatever_the_parts(store, tmp_path, size, part_bytes):
    store.put("x", DATA[:size])
    target = tmp_path / "copy"
    target.write_bytes(b"what stood here before" * 100_000)
    store.download("x", target, streams=3, part_bytes=part_bytes, size=size)
    assert target.read_bytes() == DATA[:size]


def test_a_download_of_another_length_is_refused(store, tmp_path):
    store.put("x", DATA)
    with pytest.raises(StoreError, match="it has 1000003 bytes, expected are 7"):
        store.download("x", tmp_path / "copy", size=7)


def test_listing_is_sorted_recursive_and_by_prefix(store):
    names = ["00000.tar", "00000.idx", "_vidloom/plan.json", "_vidloom/ledger/00000.parquet"]
    for name in names:
        store.put(name, b"x")
    assert store.list() == sorted(names)
    assert store.list("_vidloom/") == sorted(names[2:])
    assert store.list("_vidloom/p") == ["_vidloom/plan.json"]
    assert store.list("0") == ["00000.idx", "00000.tar"]
    assert store.list("nothing/") == []
    assert store.list(deep=False) == ["00000.idx", "00000.tar"]
    assert store.list("_vidloom/", deep=False) == ["_vidloom/plan.json"]
    assert store.list("nothing/", deep=False) == []


def test_an_empty_store_lists_nothing(store):
    assert store.list() == []


@pytest.mark.parametrize("move", [False, True])
def test_files_are_published_from_disk(store, tmp_path, move):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    store.put_file("folder/x", source, move=move)
    assert store.read("folder/x") == DATA
    assert source.exists() != move


def test_a_bucket_that_is_absent_is_told_from_an_object(object_store):
    bucket_of(object_store, "store")
    absent = open_store("s3://never-made/folder")
    with pytest.raises(NotFoundError, match="never-made/folder/x: there is no such bucket; make it first"):
        absent.put("x", b"1")
    with pytest.raises(NotFoundError, match="never-made/folder/x: there is no such bucket"):
        absent.read("x")


def test_what_is_absent_is_named(store, tmp_path):
    for verb in (store.read, store.stat, store.open):
        with pytest.raises(NotFoundError, match=r"folder/absent: it does not exist"):
            verb("folder/absent")
    with pytest.raises(NotFoundError, match="folder/absent"):
        store.read_range("folder/absent", 0, 1)
    with pytest.raises(NotFoundError, match="folder/absent"):
        store.download("folder/absent", tmp_path / "copy")


@pytest.mark.parametrize("name", ["", "../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/"])
def test_names_do_not_lead_out_of_the_store(tmp_path, name):
    store = open_store(tmp_path)
    for call in (store.read, store.stat, store.delete, store.open, lambda n: store.put(n, b"")):
        with pytest.raises(ValueError, match="no name of a file in a store"):
            call(name)


def test_readers_can_seek(store):
    store.put("x", DATA)
    with store.open("x") as file:
        file.seek(-10, io.SEEK_END)
        assert file.read() == DATA[-10:]
        file.seek(500_000)
        assert file.read(100) == DATA[500_000:500_100]
        assert file.read() == DATA[500_100:]
        assert file.read(1) == b""


def test_pyarrow_reads_columns_through_a_reader(store):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": list(range(1000)), "b": ["x"] * 1000}), sink)
    store.put("t.parquet", bytes(sink.getvalue()))
    with store.open("t.parquet") as file:
        assert pq.read_table(file, columns=["a"])["a"].to_pylist() == list(range(1000))


def test_a_store_travels_between_processes(store):
    store.put("x", b"1")
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    if store.url.startswith("memory"):
        return
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read('x'))"
    out = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(store), capture_output=True, cwd=ROOT, check=True
    )
    assert out.stdout == b"b'1'\n"


# Local folders


def test_only_local_stores_have_paths(tmp_path):
    assert open_store(tmp_path).local_path("a/b") == tmp_path / "a" / "b"
    with pytest.raises(ValueError, match="s3://b/p/x is no local file"):
        open_store("s3://b/p").local_path("x")


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    store = open_store(tmp_path)
    store.put("x", b"old")
    monkeypatch.setattr("os.fsync", _no_space)
    with pytest.raises(StoreError, match=r"cannot write .*x: OSError: .*No space left"):
        store.put("x", b"new")
    assert store.read("x") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_dead_writers_leftover_goes_when_the_name_is_written_again(tmp_path):
    store = open_store(tmp_path)
    dead = {tmp_path / leftover_of("x", number) for number in range(4)}
    other = tmp_path / leftover_of("y", 0)
    for path in (*dead, other):
        path.write_bytes(b"half")
    assert store.list() == []
    store.put("x", b"whole")
    assert store.list() == ["x"]
    assert set(tmp_path.iterdir()) == {tmp_path / "x", other}, "the other belongs to another name"
    store.put("y", b"whole")
    source = tmp_path.parent / f"{tmp_path.name}-source"
    for path in dead:
        path.write_bytes(b"half")
    source.write_bytes(b"moved")
    store.put_file("x", source, move=True)
    assert set(tmp_path.iterdir()) == {tmp_path / "x", tmp_path / "y"}


def test_a_living_writers_file_stays(tmp_path):
    store = open_store(tmp_path)
    alive = tmp_path / leftover_of("x", 0)
    with alive.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        store.put("x", b"whole")
        assert alive.exists()
    assert store.read("x") == b"whole"


def test_publishing_looks_at_no_other_file_of_the_folder(tmp_path, monkeypatch):
    """A folder of many shards would be read once for each of them."""
    store = open_store(tmp_path)
    source = tmp_path / "source"
    source.write_bytes(b"1")

    def refuse_to_list(*_, **__):
        raise AssertionError("the folder is listed")

    for name in ("os.scandir", "os.listdir", "pathlib.Path.glob", "pathlib.Path.iterdir"):
        monkeypatch.setattr(name, refuse_to_list)
    store.put("x", b"1")
    store.put_file("y", source, move=True)


def test_a_failed_writer_removes_its_own_file_alone(tmp_path, monkeypatch):
    """Its temporary name is another's as soon as it lets go of it."""
    store = open_store(tmp_path)
    unlink = Path.unlink

    def unlink_locked(path, **more):
        with path.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlink(path, **more)

    monkeypatch.setattr("os.fsync", _no_space)
    monkeypatch.setattr("pathlib.Path.unlink", unlink_locked)
    with pytest.raises(StoreError, match="No space left"):
        store.put("x", b"1")
    assert list(tmp_path.iterdir()) == []


def test_moving_across_file_systems_copies(tmp_path, monkeypatch):
    store = open_store(tmp_path / "store")
    source = tmp_path / "source"
    source.write_bytes(DATA)
    monkeypatch.setattr("shards.local._same_device", lambda *_: False)
    store.put_file("x", source, move=True)
    assert store.read("x") == DATA
    assert not source.exists()


def test_writers_of_one_name_do_not_mix(tmp_path):
    store = open_store(tmp_path)
    contents = [bytes([i]) * 200_000 for i in range(8)]
    threads = [threading.Thread(target=store.put, args=("x", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read("x") in contents
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


# URLs


def test_urls_are_spelt_one_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store("s3://bucket/a/b/").url == "s3://bucket/a/b"
    assert open_store("data/").url == str(tmp_path / "data")
    assert open_store(f"file://{tmp_path}/with%20blank").url == f"{tmp_path}/with blank"
    assert open_store(tmp_path).is_local
    assert not open_store("s3://bucket").is_local


@pytest.mark.parametrize(
    ("url", "parent", "name"),
    [
        ("s3://bucket/a/b.mp4", "s3://bucket/a", "b.mp4"),
        ("s3://bucket/b.mp4", "s3://bucket", "b.mp4"),
        ("/data/b.mp4", "/data", "b.mp4"),
        ("/b.mp4", "/", "b.mp4"),
        ("b.mp4", ".", "b.mp4"),
        ("file:///data/b%20c.mp4", "file:///data", "b c.mp4"),
    ],
)
def test_files_are_split_from_their_folders(url, parent, name):
    assert tuple(split_url(url)) == (parent, name)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "/", "", "a/"])
def test_what_names_no_file_is_refused(url):
    with pytest.raises(ValueError, match="names no file"):
        split_url(url)


def test_urls_with_credentials_or_without_bucket_are_refused():
    for url in (
        "s3://AKIAKEY:geheim@bucket/x",
        "s3://AKIAKEY:ge/heim@bucket/x",
        "s3://AKIAKEY:geheim/x",
        "s3://AKIAKEY:123/geheim@bucket/x",
        "https://user:geheim/more@host/x",
        "https://geheim@host/x",
    ):
        for made in (url, split_url(url).parent):
            with pytest.raises(ValueError, match="holds credentials") as caught:
                open_store(made)
            assert "heim" not in str(caught.value)
            assert "AKIA" not in str(caught.value)
    with pytest.raises(ValueError, match="names no bucket"):
        open_store("s3:///x/")


def test_an_unknown_protocol_says_what_is_taken():
    with pytest.raises(ValueError, match=r"cannot open teleport://x/y: .*s3:// and http"):
        open_store("teleport://x/y").read("z")


# Errors and credentials


def test_secrets_are_struck_out(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t/with+signs")
    text = redact("http://user:pw@host/x?X-Amz-Signature=abc&b=1 s3cr3t/with+signs AWSAccessKeyId=AKIA")
    assert text == "http://host/x?X-Amz-Signature=***&b=1 *** AWSAccessKeyId=***"
    assert redact("cannot read s3://AKIAX:se/cretKEY@bucket/p: no") == "cannot read s3://bucket/p: no"
    for path in (
        "http://host:8080/videos/me@home/x",
        "s3://arn:aws:s3:us-east-1:1:accesspoint/a@b",
        "//a@b",
        "s3://b/a@c",
    ):
        assert redact(path) == path
    assert redact("https://h/x?sv=1&sig=abc%2B&X-Goog-Signature=de") == "https://h/x?sv=1&sig=***&X-Goog-Signature=***"


def test_ports_and_access_points_are_no_credentials():
    for url in (
        "http://host:8080/x",
        "http://[::1]:80/x",
        "s3://arn:aws:s3:us-east-1:1:accesspoint/x",
        "memory://a/x@y",
    ):
        assert open_store(url).url == url


def test_errors_keep_their_class_on_the_way_between_processes():
    full = OSError(errno.ENOSPC, "No space left on device")
    for cause, kind, number in (
        (FileNotFoundError("x"), NotFoundError, None),
        (PermissionError("x"), StoreError, errno.EACCES),
        (full, StoreError, errno.ENOSPC),
        (TimeoutError("x"), StoreOutageError, None),
        (ConnectionResetError(errno.ECONNRESET, "x"), StoreOutageError, errno.ECONNRESET),
        (OSError(errno.ESTALE, "x"), StoreOutageError, errno.ESTALE),
    ):
        error = store_error("read", "s3://b/x", cause)
        copy = pickle.loads(pickle.dumps(error))
        for one in (error, copy):
            assert (type(one), one.errno, str(one)) == (kind, number, str(error))
            assert concerns_all_files(one) == (kind is StoreOutageError or cause is full)


def refuse(method, answers):
    """Let the requests that ``answers`` names end with these statuses, as botocore reports them."""
    code = answers.get(method)
    if code is not None:
        answer = {"Error": {"Code": str(code)}, "ResponseMetadata": {"HTTPStatusCode": code}}
        raise translate_boto_error(botocore.exceptions.ClientError(answer, method))


@pytest.mark.parametrize(
    ("answers", "outage"),
    [
        ({"head_object": 403, "head_bucket": 403}, True),
        ({"head_object": 400, "head_bucket": 400}, True),
        ({"head_object": 403}, False),
        ({"head_object": 400}, False),
        ({"head_object": 503}, True),
        ({"head_object": 500}, True),
        ({"head_object": 429}, True),
        ({"head_object": 405}, False),
        ({"get_object": 503}, True),
        ({"get_object": 416}, False),
    ],
)
def test_a_store_that_fails_is_told_from_an_object_that_does(object_store, monkeypatch, answers, outage):
    store = remote(object_store, "told")
    store.put("x", DATA)
    call = s3fs.S3FileSystem._call_s3

    async def answer(system, method, *args, **kwargs):
        refuse(method, answers)
        return await call(system, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", answer)
    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", sync_wrapper(answer))
    with pytest.raises(StoreError, match="s3://faults/told/x") as caught:
        store.read("x")
    assert concerns_all_files(caught.value) == outage


def test_a_full_disk_is_known_by_its_number(object_store, tmp_path, monkeypatch):
    stores = [remote(object_store, "full"), open_store(f"memory://full/{tmp_path.name}")]
    for store in stores:
        store.put("x", DATA)
    monkeypatch.setattr("os.pwrite", lambda *_: _no_space(0))
    for store in stores:
        with pytest.raises(StoreError, match=r"/x: OSError: .*No space left") as caught:
            store.download("x", tmp_path / "copy")
        assert caught.value.errno == errno.ENOSPC
        assert concerns_all_files(caught.value)


def test_wrong_keys_are_an_error_without_the_keys(object_store, monkeypatch):
    store = remote(object_store, "keys")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "WRONGSECRET")
    for call in (lambda: store.read("x"), lambda: store.put("x", b""), store.list):
        with pytest.raises(StoreError, match=r"cannot \w+ s3://faults/keys") as caught:
            call()
        assert isinstance(caught.value, StoreOutageError)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert object_store.access_key not in str(caught.value)
        assert "WRONGSECRET" not in str(caught.value)


def test_a_bucket_that_does_not_exist_is_named(object_store):
    store = open_store("s3://no-such-bucket/x", patience=QUICK)
    with pytest.raises(NotFoundError, match="s3://no-such-bucket/x/y"):
        store.read("y")
    with pytest.raises(StoreError, match="s3://no-such-bucket/x/y"):
        store.put("y", b"")


def test_a_server_that_is_gone_is_an_error(object_store, monkeypatch):
    store = remote(object_store, "gone", SHORT)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:password@127.0.0.1:9")
    for call in (
        lambda: store.read("x"),
        lambda: store.put("x", b"1"),
        lambda: store.stat("x"),
        lambda: store.list("x"),
    ):
        with pytest.raises(StoreOutageError, match=r"s3://faults/gone") as caught:
            call()
        assert "password" not in str(caught.value)


# A bad network


def test_broken_answers_are_resumed(object_store, proxy, tmp_path):
    store = remote(object_store, "resumed")
    store.put("x", DATA)
    for kind in ("cut", "reset", "stall"):
        proxy.fault = Fault(kind, times=4)
        store.download("x", tmp_path / kind, streams=3, part_bytes=300_000)
        assert (tmp_path / kind).read_bytes() == DATA
        assert proxy.fault.times == 0, "every fault struck"


def test_busy_answers_are_tried_again(object_store, proxy):
    store = remote(object_store, "busy")
    store.put("x", DATA)
    proxy.fault = Fault("refuse", times=2)
    assert store.read("x") == DATA
    assert proxy.fault.times == 0
    proxy.fault = Fault("refuse", times=1)
    store.put("y", b"1")
    assert store.read("y") == b"1"


@pytest.mark.parametrize("kind", ["cut", "reset", "stall"])
def test_patience_ends(object_store, proxy, tmp_path, kind):
    store = remote(object_store, "patience", SHORT)
    store.put("x", DATA)
    proxy.fault = Fault(kind, times=10_000, after=2)
    with pytest.raises(StoreOutageError, match="s3://faults/patience/x"):
        store.download("x", tmp_path / "copy")


def test_an_upload_that_breaks_is_an_error_and_publishes_nothing(object_store, proxy):
    store = remote(object_store, "upload", SHORT)
    proxy.fault = Fault("reset", times=10_000, after=0)
    with pytest.raises(StoreError, match="cannot write s3://faults/upload/x"):
        store.put("x", DATA)
    proxy.fault = None
    assert not store.exists("x")


def test_an_object_replaced_during_the_download_is_noticed(object_store, tmp_path, monkeypatch):
    store = remote(object_store, "replaced")
    store.put("x", DATA)
    fetch = type(store._remote).fetch

    def replace_first(self, name, etag, transfer):
        store.put("x", DATA[::-1])
        fetch(self, name, etag, transfer)

    monkeypatch.setattr(type(store._remote), "fetch", replace_first)
    with pytest.raises(StoreError, match=r"s3://faults/replaced/x: the object changed while it was read"):
        store.download("x", tmp_path / "copy")


def test_big_files_go_up_in_parts_and_appear_at_once(object_store, tmp_path, monkeypatch):
    monkeypatch.setattr("shards.s3._UPLOAD_PART_BYTES", 5 << 20)
    store = remote(object_store, "parts", Patience())
    source = tmp_path / "source"
    source.write_bytes(DATA * 12)
    store.put_file("x", source)
    assert store.read("x") == DATA * 12
    assert store.list() == ["x"]


def test_a_transfer_left_behind_writes_nowhere(object_store, tmp_path, monkeypatch):
    """After an interrupt, pieces that still arrive must not reach a file handle that has another owner by now."""
    store = remote(object_store, "left")
    store.put("x", DATA)
    kept: list[Transfer] = []
    monkeypatch.setattr(type(store._remote), "fetch", lambda self, name, etag, transfer: kept.append(transfer))
    store.download("x", tmp_path / "copy")
    with (tmp_path / "other").open("w+b") as other:
        with pytest.raises(OSError, match="given up"):
            kept[0].write(0, b"piece")
        assert os.fstat(other.fileno()).st_size == 0


FORK = """
import os, sys
from shards.store import open_store
store = open_store(sys.argv[1])
assert store.read("x") == b"1"
child = os.fork()
if child == 0:
    assert store.read("x") == b"1"
    store.put("child", b"2")
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert store.read("child") == b"2"
"""


def test_a_forked_child_builds_its_own_client(object_store):
    store = remote(object_store, "fork", Patience())
    store.put("x", b"1")
    subprocess.run([sys.executable, "-c", FORK, store.url], check=True, cwd=ROOT, timeout=120)


def leftover_of(name: str, number: int) -> str:
    return f".{name}.{number}.part"


def _no_space(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_store_that_states_no_length_is_an_error_by_name(tmp_path, monkeypatch):
    store = open_store(f"memory://{tmp_path.name}")
    store.put("a", b"x")
    monkeypatch.setattr(type(store._remote.system), "info", lambda *_: {"type": "file", "size": None})
    with pytest.raises(StoreError, match="a: its store states no length"):
        store.stat("a")
