"""The meter: stages add up over threads, intervals are differences, failures are timed too."""

from __future__ import annotations

import threading

import pytest

from pipelines.meter import StageMeter, StageReading


def test_stages_add_up_over_threads():
    meter = StageMeter()

    def work() -> None:
        for _ in range(200):
            meter.add("fetch", StageReading(1, 0.5, 10))
            meter.change_ready(1)
            meter.change_ready(-1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reading = meter.snapshot()
    assert reading.stage("fetch") == StageReading(800, 400.0, 8000)
    assert reading.ready == 0


def test_an_interval_is_the_difference_of_two_readings():
    meter = StageMeter()
    meter.add("decode", StageReading(2, 1.0))
    first = meter.snapshot()
    meter.add("decode", StageReading(3, 2.5))
    meter.add("wait", StageReading(1, 0.25))
    meter.change_ready(2)
    later = meter.snapshot()
    interval = later.since(first)
    assert interval.stage("decode") == StageReading(3, 2.5)
    assert interval.stage("wait") == StageReading(1, 0.25)
    assert interval.stage("augment") == StageReading()
    assert interval.ready == 2
    assert interval.elapsed == pytest.approx(later.elapsed - first.elapsed)
    assert first.stage("decode").calls == 2, "a reading must not change afterwards"


def test_a_stage_that_raises_is_timed_and_raises():
    meter = StageMeter()
    with pytest.raises(KeyError), meter.stage("decode"):
        raise KeyError("x")
    reading = meter.snapshot().stage("decode")
    assert reading.calls == 1
    assert reading.seconds >= 0
