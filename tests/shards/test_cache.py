"""The cache: one download for all processes, never over its budget, pins hold, the dead leave nothing behind."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from shards.cache import CacheFullError, ShardCache
from shards.manifest import FileEntry, describe
from shards.store import NotFoundError, Store, StoreError, open_store
from tests.support.cache_worker import CountingStore, content, expected
from tests.support.fault_proxy import Fault, running_proxy

ROOT = Path(__file__).parents[2]
SIZE = 100_000
NAMES = [f"{number:05d}.tar" for number in range(6)]


@pytest.fixture
def store(tmp_path) -> Store:
    store = CountingStore(str(tmp_path / "store"))
    for name in NAMES:
        store.put(name, content(name))
    return store


@pytest.fixture
def cache(tmp_path) -> ShardCache:
    """A cache with room for three files."""
    return ShardCache(tmp_path / "cache", 3 * SIZE + 10, wait_seconds=0)


def downloads(tmp_path) -> list[str]:
    log = tmp_path / "downloads"
    return log.read_text().split() if log.exists() else []


def start(tmp_path, action: str, *names: str, budget: int = 3 * SIZE + 10) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.cache_worker", tmp_path / "cache", str(budget), tmp_path / "store"]
    return subprocess.Popen(
        [*command, action, *names],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(*processes: subprocess.Popen[str]) -> None:
    """Wait for all before judging any: none is left with its pipes open."""
    errors = [process.communicate("\n", timeout=120)[1] for process in processes]
    for process, error in zip(processes, errors, strict=True):
        assert process.returncode == 0, error


def use(cache: ShardCache, store: Store, *names: str) -> None:
    for name in names:
        with cache.hold(store, name, expected(name)) as path:
            assert path.read_bytes() == content(name)
        assert cache.used_bytes() <= cache.budget_bytes


def test_a_file_is_fetched_once(cache, store, tmp_path):
    use(cache, store, NAMES[0], NAMES[0], NAMES[1])
    use(ShardCache(cache.folder, cache.budget_bytes), store, NAMES[0])
    assert downloads(tmp_path) == NAMES[:2]


def test_the_longest_unused_goes_first(cache, store, tmp_path):
    use(cache, store, *NAMES[:3], NAMES[0], NAMES[3], NAMES[0], NAMES[1])
    assert downloads(tmp_path) == [*NAMES[:4], NAMES[1]]
    assert cache.used_bytes() == 3 * SIZE


def test_a_held_file_stays_whatever_is_fetched(cache, store):
    with cache.hold(store, NAMES[0], expected(NAMES[0])) as path:
        use(cache, store, *NAMES[1:])
        assert path.read_bytes() == content(NAMES[0])
    use(cache, store, *NAMES[1:])
    assert not path.exists()


def test_a_file_held_twice_stays_until_both_let_go(cache, store):
    with cache.hold(store, NAMES[0], expected(NAMES[0])) as path:
        with cache.hold(store, NAMES[0], expected(NAMES[0])) as again:
            assert again == path
        use(cache, store, *NAMES[1:])
        assert path.exists()


def test_what_does_not_fit_names_budget_and_need(cache, store):
    with pytest.raises(CacheFullError, match=r"00009\.tar .*needs 400000 bytes, the budget is 300010 bytes"):
        use_entry(cache, store, "00009.tar", FileEntry(400_000, "0" * 64))
    holds = [cache.hold(store, name, expected(name)) for name in NAMES[:3]]
    paths = [hold.__enter__() for hold in holds]
    with pytest.raises(CacheFullError, match="needs 100000 bytes, the budget is 300010 bytes and 300000 of them"):
        use(cache, store, NAMES[3])
    assert all(path.exists() for path in paths), "nothing in use was given up"
    for hold in holds:
        hold.__exit__(None, None, None)
    use(cache, store, NAMES[3])


def test_waiting_for_room_ends_when_another_lets_go(cache, store):
    patient = ShardCache(cache.folder, cache.budget_bytes, wait_seconds=30)
    hold = cache.hold(store, NAMES[0], expected(NAMES[0]))
    hold.__enter__()
    others = [cache.hold(store, name, expected(name)) for name in NAMES[1:3]]
    for other in others:
        other.__enter__()
    thread = threading.Thread(target=use, args=(patient, store, NAMES[3]))
    thread.start()
    hold.__exit__(None, None, None)
    thread.join(30)
    assert not thread.is_alive()
    assert (cache.folder / f"vidloom-{expected(NAMES[3]).sha256}.data").exists()
    for other in others:
        other.__exit__(None, None, None)


def test_a_budget_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a cache budget of 0 bytes"):
        ShardCache(tmp_path, 0)


def test_wrong_bytes_are_fetched_once_more_and_then_refused(cache, store, tmp_path):
    store.put(NAMES[0], content(NAMES[1]))
    with pytest.raises(StoreError, match=r"00000\.tar has the hash .*damaged or was replaced"):
        use(cache, store, NAMES[0])
    assert downloads(tmp_path) == [NAMES[0]] * 2
    assert cache.used_bytes() == 0


def test_a_missing_or_shorter_file_is_refused(cache, store):
    with pytest.raises(NotFoundError, match=r"absent\.tar"):
        use(cache, store, "absent.tar")
    store.put(NAMES[0], content(NAMES[0])[:-1])
    with pytest.raises(StoreError, match=r"00000\.tar: it has 99999 bytes, expected are 100000"):
        use(cache, store, NAMES[0])
    assert cache.used_bytes() == 0


def test_a_copy_of_the_wrong_length_is_fetched_again(cache, store, tmp_path):
    use(cache, store, NAMES[0])
    (copy,) = cache.folder.glob("*.data")
    copy.write_bytes(b"short")
    use(cache, store, NAMES[0])
    assert downloads(tmp_path) == [NAMES[0]] * 2


def test_an_empty_file_can_be_held(cache, store):
    store.put("empty", b"")
    use_entry(cache, store, "empty", describe(b""))


def test_foreign_files_are_neither_counted_nor_removed(cache, store):
    foreign = ["vidloom-x.data", "data.tar", "vidloom-" + "0" * 64 + ".data.txt"]
    for name in foreign:
        (cache.folder / name).write_bytes(bytes(SIZE))
    use(cache, store, *NAMES)
    assert all((cache.folder / name).stat().st_size == SIZE for name in foreign)
    assert cache.used_bytes() == 3 * SIZE


def test_threads_share_a_cache(cache, store, tmp_path):
    patient = ShardCache(cache.folder, cache.budget_bytes, wait_seconds=60)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            use(patient, store, *random.Random(seed).choices(NAMES, k=15))
        except BaseException as error:  # noqa: BLE001  (whatever it is, the test shows it)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_one_process_fetches_and_the_others_wait(store, tmp_path):
    finish(*(start(tmp_path, "read", *NAMES[:2]) for _ in range(4)))
    assert sorted(downloads(tmp_path)) == NAMES[:2]


def test_processes_stay_below_the_budget_together(store, tmp_path):
    finish(*(start(tmp_path, "read", *random.Random(seed).choices(NAMES, k=40)) for seed in range(3)))
    assert ShardCache(tmp_path / "cache", 3 * SIZE + 10).used_bytes() <= 3 * SIZE + 10


def test_a_copy_that_gets_its_name_during_a_count_counts_once(cache, store, monkeypatch):
    arrived, counting = threading.Event(), threading.Event()

    class SlowStore(Store):
        def download(self, name: str, to: Path, **options: object) -> None:
            super().download(name, to, **options)
            arrived.set()
            assert counting.wait(60)

    thread = threading.Thread(target=use, args=(cache, SlowStore(store.url), NAMES[0]))
    list_folder = os.scandir

    def list_slowly(folder):
        yield from list_folder(folder)
        counting.set()
        thread.join(0.5)  # as long as the count may see the copy's next name
        yield from (entry for entry in list_folder(folder) if entry.name.endswith(".data"))

    thread.start()
    assert arrived.wait(60)
    with monkeypatch.context() as patch:
        patch.setattr("shards.cache.os.scandir", list_slowly)
        assert cache.used_bytes() == SIZE
    thread.join(60)
    assert cache.used_bytes() == SIZE


def test_what_another_process_holds_is_not_evicted(cache, store, tmp_path):
    holder = start(tmp_path, "wait", NAMES[0])
    assert holder.stdout.readline() == "held\n"
    use(cache, store, *NAMES[1:], *NAMES[1:])
    copy = cache.folder / f"vidloom-{expected(NAMES[0]).sha256}.data"
    assert copy.exists()
    finish(holder)
    use(cache, store, *NAMES[1:])
    assert not copy.exists()


def test_a_killed_holders_pin_dies_with_it(cache, store, tmp_path):
    holder = start(tmp_path, "wait", NAMES[0])
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    use(cache, store, *NAMES[1:])
    assert not (cache.folder / f"vidloom-{expected(NAMES[0]).sha256}.data").exists()


def test_a_killed_downloaders_half_is_never_used_and_goes(cache, store, tmp_path):
    dying = start(tmp_path, "die", NAMES[0])
    _, errors = dying.communicate()
    assert dying.returncode == -9, errors
    (half,) = cache.folder.glob("*.part")
    assert half.stat().st_size == SIZE, "the room it reserved still counts"
    assert cache.used_bytes() == SIZE
    use(cache, store, NAMES[1])
    assert not half.exists(), "the next download makes room first"
    use(cache, store, NAMES[0])


def test_a_waiter_takes_over_from_a_killed_downloader(cache, store, tmp_path):
    dying = start(tmp_path, "die", NAMES[0])
    dying.communicate()
    use(cache, store, NAMES[0])
    assert sorted(path.suffix for path in cache.folder.iterdir()) == [".data", ".lock"]


def test_remote_files_come_through_a_bad_network(cache, object_store, monkeypatch):
    remote = open_store(object_store.make_bucket("cache"))
    remote.put(NAMES[0], content(NAMES[0]))
    with running_proxy(int(object_store.endpoint.rpartition(":")[2])) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        proxy.fault = Fault("flip", after=50_000)
        use(cache, remote, NAMES[0])
        assert proxy.fault.times == 0, "a flipped bit came in, was noticed, and the file was fetched again"


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("VIDLOOM_BAD_NETWORK") != "1", reason="a minute; VIDLOOM_BAD_NETWORK=1 runs it")
def test_eight_processes_that_are_killed_at_random_keep_to_the_budget(tmp_path):
    """The budget is one file a lane; every half second one of the processes is killed and another one begins."""
    names = [f"{number:05d}.tar" for number in range(24)]
    store, draw, budget = open_store(tmp_path / "store"), random.Random(0), 8 * SIZE
    for name in names:
        store.put(name, content(name))
    cache = ShardCache(tmp_path / "cache", budget)

    def begin() -> subprocess.Popen[str]:
        return start(tmp_path, "slow", *draw.choices(names, k=200), budget=budget)

    running, most, deadline = [begin() for _ in range(8)], 0, time.monotonic() + 45
    while time.monotonic() < deadline:
        time.sleep(0.02)
        most = max(most, bytes_of(cache.folder))
        if draw.random() < 0.04:
            victim = draw.randrange(8)
            running[victim].kill()
            running[victim].communicate()
            assert running[victim].returncode in {0, -9}
            running[victim] = begin()
    assert SIZE < most <= budget + 8 * SIZE
    assert cache.used_bytes() <= budget
    for process in running:
        process.kill()
        process.communicate()
    finish(*(start(tmp_path, "slow", *names, budget=budget) for _ in range(2)))
    assert not list(cache.folder.glob("*.part")), "what the dead left behind is gone"


def bytes_of(folder: Path) -> int:
    """Return how many bytes the copies have together; any may go at any moment."""
    total = 0
    for file in folder.glob("vidloom-*.*"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def use_entry(cache: ShardCache, store: Store, name: str, entry: FileEntry) -> None:
    with cache.hold(store, name, entry) as path:
        assert path.stat().st_size == entry.bytes
