"""An outage is waited out, for a bounded time, until told to stop; a refusal is not."""

from __future__ import annotations

import logging
import threading

import pytest

from pipelines.outages import OutagePatience
from shards.errors import StoreError, StoreOutageError, StoreRefusalError


class Store:
    """Fails so many times with an error, then answers."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error, self.asked = failures, error, 0

    def ask(self) -> str:
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        return "answer"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("pipelines.outages._FIRST_PAUSE", 0.001)
    monkeypatch.setattr("pipelines.outages._LONGEST_PAUSE", 0.002)


def test_an_outage_is_waited_out_and_said_once(caplog):
    store = Store(5, StoreOutageError("s3://b/x is away"))
    with caplog.at_level(logging.WARNING):
        patience = OutagePatience(60)
        assert patience.wait_out(store.ask) == "answer"
    assert store.asked == 6
    assert [record.message.partition(",")[0] for record in caplog.records] == [
        "the store is out of reach",
        "the store answers again after 0 s",
    ]


def test_it_ends_when_its_time_is_up():
    store = Store(10_000, StoreOutageError("s3://b/x is away"))
    with pytest.raises(StoreOutageError, match=r"s3://b/x is away; it was waited for 0 s"):
        OutagePatience(0.05).wait_out(store.ask)
    assert store.asked > 2
    with pytest.raises(StoreOutageError, match="away"):
        OutagePatience(0).wait_out(store.ask)


@pytest.mark.parametrize("error", [StoreRefusalError("wrong keys"), StoreError("no such file"), ValueError("odd")])
def test_what_waiting_does_not_mend_is_raised_at_once(error):
    store = Store(1, error)
    with pytest.raises(type(error), match=str(error)):
        OutagePatience(60).wait_out(store.ask)
    assert store.asked == 1


def test_it_stops_when_told_and_goes_on_when_told(monkeypatch):
    monkeypatch.setattr("pipelines.outages._FIRST_PAUSE", 60)
    monkeypatch.setattr("pipelines.outages._LONGEST_PAUSE", 60)
    patience = OutagePatience(600)
    found: list[BaseException] = []

    def work() -> None:
        with pytest.raises(StoreOutageError) as caught:
            patience.wait_out(Store(10_000, StoreOutageError("away")).ask)
        found.append(caught.value)

    thread = threading.Thread(target=work)
    thread.start()
    patience.stop()
    thread.join(20)
    assert len(found) == 1
    patience.resume()
    monkeypatch.setattr("pipelines.outages._FIRST_PAUSE", 0.001)
    assert patience.wait_out(Store(1, StoreOutageError("away")).ask) == "answer"
