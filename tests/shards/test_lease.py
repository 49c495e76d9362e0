"""A lease keeps others out while its owner lives, passes on where it has ended, and is known to be lost."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import pytest

from shards import lease as module
from shards.lease import LeaseLostError, LeaseTakenError, LeaseTimes, hold_lease
from shards.store import Store, StoreError, open_store

BUSY = LeaseTimes(renew=0.05, silence=60, settle=0.02)
SILENT = LeaseTimes(renew=0.05, silence=0.5, settle=0.02)
FIRST = "_vidloom/lease/000000000000.json"
HOLD = """
import sys, time
from shards.lease import LeaseTimes, hold_lease
from shards.store import open_store
with hold_lease(open_store(sys.argv[1]), LeaseTimes(0.05, 60, 0.02)):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    return open_store(
        tmp_path if request.param == "local" else f"memory://lease/{tmp_path.parent.name}/{tmp_path.name}"
    )


def elsewhere(store, name=FIRST, **changes):
    """Leave the lease of a process of another machine."""
    owner = {"token": "theirs", "host": "far", "pid": 7, "machine": "other", "started": "1", "renewals": 0} | changes
    store.put(name, json.dumps(owner).encode())


def wait_for(condition):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come")


def test_a_lease_is_there_while_it_is_held_and_gone_afterwards(store):
    with hold_lease(store, BUSY) as lease:
        assert store.list() == [FIRST]
        before = json.loads(store.read(FIRST))["renewals"]
        wait_for(lambda: json.loads(store.read(FIRST))["renewals"] > before)
        lease.require()
    assert store.list() == []


def test_another_run_is_refused_by_name(store):
    said = r"process \d+ on .* is writing to .*; wait"
    with hold_lease(store, BUSY), pytest.raises(LeaseTakenError, match=said), hold_lease(store, BUSY):
        pass
    with hold_lease(store, BUSY):
        assert len(store.list()) == 1


def test_a_lease_that_is_renewed_while_it_is_read_is_read_again(store, monkeypatch):
    read, failures = Store.read, 3

    def changing(place, name):
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise StoreError("the object changed while it was read")
        return read(place, name)

    elsewhere(store)
    monkeypatch.setattr(Store, "read", changing)
    assert module._read(store, FIRST).token == "theirs"
    failures = 1000
    with pytest.raises(StoreError, match="changed while it was read"):
        module._read(store, FIRST)


def test_what_a_killed_process_of_this_machine_left_is_taken_over_at_once(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LeaseTakenError, match=f"process {process.pid} "), hold_lease(open_store(tmp_path), BUSY):
        pass
    process.kill()
    process.communicate()
    with hold_lease(open_store(tmp_path), LeaseTimes(renew=0.05, silence=1e6, settle=0.02)):
        assert open_store(tmp_path).list() == ["_vidloom/lease/000000000001.json"]


def test_a_silent_owner_elsewhere_is_waited_for_then_replaced(store):
    elsewhere(store)
    begun = time.monotonic()
    with hold_lease(store, SILENT) as lease:
        assert time.monotonic() - begun >= SILENT.silence
        lease.require()
        assert store.list() == ["_vidloom/lease/000000000001.json"]


def test_an_owner_elsewhere_that_renews_is_left_alone(store):
    elsewhere(store)
    timer = threading.Timer(0.2, lambda: elsewhere(store, renewals=1))
    timer.start()
    with pytest.raises(LeaseTakenError, match="process 7 on far"), hold_lease(store, BUSY):
        pass
    timer.join()


def test_of_two_that_come_at_once_one_goes_on(store, monkeypatch):
    """A store that looks and writes in two steps tells both that the name was free: the last one's words stay."""

    def create(place, name, data):
        place.put(name, data)
        elsewhere(place, name)
        return True

    monkeypatch.setattr(Store, "create", create)
    with pytest.raises(LeaseTakenError, match="process 7 on far has begun to write"), hold_lease(store, BUSY):
        pass
    assert json.loads(store.read(FIRST))["token"] == "theirs"


@pytest.mark.parametrize("name", [FIRST, "_vidloom/lease/000000000009.json"])
def test_an_owner_that_was_replaced_stops_and_lets_the_other_be(store, name):
    with hold_lease(store, BUSY) as lease:
        elsewhere(store, name)

        def is_lost():
            try:
                lease.require()
            except LeaseLostError as error:
                return "process 7 on far has taken it over; another run may be writing there" in str(error)
            return False

        wait_for(is_lost)
    assert json.loads(store.read(name))["token"] == "theirs"


def test_an_owner_that_cannot_renew_stops_before_another_may_come(store, monkeypatch):
    with hold_lease(store, SILENT) as lease:

        def fail(*_):
            raise StoreError("no way")

        with monkeypatch.context() as patch:
            patch.setattr(Store, "put", fail)
            time.sleep(2 * SILENT.silence)
            with pytest.raises(LeaseLostError, match="could not be renewed for"):
                lease.require()


def test_rubbish_in_the_place_of_a_lease_holds_nobody_up(store):
    store.put(FIRST, b"{}")
    with hold_lease(store, BUSY):
        assert store.list() == ["_vidloom/lease/000000000001.json"]


def test_a_process_that_is_gone_is_told_from_one_that_has_its_number():
    owner = module._Owner("t", "h", 1, module._machine(), "1")
    assert owner.is_dead, "process 1 was not started at the first tick"
    assert not module._Owner("t", "h", 1, module._machine(), module._started(1)).is_dead
    assert not module._Owner("t", "h", 1, "another machine", "1").is_dead
