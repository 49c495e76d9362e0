"""Open shards: opened once, never closed under a borrower, closed when nobody needs them."""

from __future__ import annotations

import threading

import pytest

from pipelines.leases import OpenShards


class FakeReader:
    """Remembers whether it is open."""

    def __init__(self, shard: int) -> None:
        self.shard, self.is_open = shard, True

    def close(self) -> None:
        assert self.is_open, "closed twice"
        self.is_open = False


class Opener:
    """Opens fake readers and remembers them."""

    def __init__(self) -> None:
        self.readers: list[FakeReader] = []

    def __call__(self, shard: int) -> FakeReader:
        self.readers.append(FakeReader(shard))
        return self.readers[-1]


def test_a_shard_is_opened_once_for_many_threads():
    gate = threading.Barrier(6)
    opener = Opener()
    shards = OpenShards(opener)
    seen: list[FakeReader] = []

    def work() -> None:
        gate.wait(10)
        with shards.borrow(3) as reader:
            seen.append(reader)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 6
    assert len(opener.readers) == 1


def test_a_borrowed_shard_outlives_its_retirement():
    opener = Opener()
    shards = OpenShards(opener)
    with shards.borrow(1) as reader:
        with shards.borrow_open(1) as again:
            assert again is reader
            shards.keep({2})
        assert reader.is_open
        with shards.borrow(1) as newer:
            assert newer is not reader
    assert not reader.is_open
    assert newer.is_open
    shards.close()
    assert not newer.is_open


def test_idle_shards_that_are_not_kept_are_closed():
    opener = Opener()
    shards = OpenShards(opener)
    for shard in (1, 2, 3):
        with shards.borrow(shard):
            pass
    shards.keep({2, 9})
    assert [reader.shard for reader in opener.readers if reader.is_open] == [2]


def test_borrow_open_never_opens():
    opener = Opener()
    shards = OpenShards(opener)
    with shards.borrow_open(1) as reader:
        assert reader is None
    assert not opener.readers


def test_an_opener_that_fails_is_asked_again():
    tries: list[int] = []

    def opener(shard: int) -> FakeReader:
        tries.append(shard)
        if len(tries) == 1:
            raise OSError("not yet")
        return FakeReader(shard)

    shards = OpenShards(opener)
    with pytest.raises(OSError, match="not yet"), shards.borrow(1):
        pass
    with shards.borrow(1) as reader:
        assert reader.is_open
