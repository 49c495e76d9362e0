"""The number of streams that brought most is taken; the others are tried again now and then."""

from __future__ import annotations

from collections import Counter

from shards.stream_choice import StreamChoice


def transfers(choice: StreamChoice, rates: dict[int, float], count: int) -> list[int]:
    taken = []
    for _ in range(count):
        taken.append(choice.choose(8))
        choice.note(taken[-1], rates[taken[-1]])
    return taken


def test_all_are_tried_and_the_best_is_taken():
    for best in (8, 4, 2):
        rates = {8: 1.0, 4: 1.0, 2: 1.0} | {best: 2.0}
        taken = transfers(StreamChoice(), rates, 100)
        assert set(taken[:3]) == {8, 4, 2}
        assert Counter(taken)[best] > 90


def test_a_change_is_noticed():
    choice = StreamChoice()
    transfers(choice, {8: 1.0, 4: 2.0, 2: 1.0}, 50)
    later = transfers(choice, {8: 5.0, 4: 2.0, 2: 1.0}, 200)
    assert Counter(later[-50:])[8] > 40


def test_one_odd_transfer_changes_nothing():
    choice = StreamChoice()
    transfers(choice, {8: 1.0, 4: 2.0, 2: 1.0}, 20)
    choice.note(4, 0.01)
    assert choice.choose(8) == 4


def test_there_is_always_one_stream():
    assert StreamChoice().choose(1) == 1
