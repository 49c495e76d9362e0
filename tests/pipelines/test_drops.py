"""Dropped samples: what ends a run and what does not, the budget, and the log that names them."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from pipelines.drops import Drop, DropBudget, DropPolicy, Failure, TooManyDropsError, attempt
from shards.index import DamagedShardError
from shards.store import NotFoundError, StoreError


def make_drop(position: int = 0) -> Drop:
    return Drop(position, 0, "00003", f"{position:09d}_00000", "BrokenClipError", "no frames")


def account(policy: DropPolicy, pattern: str) -> None:
    """Feed a policy one sample per letter: ``x`` is dropped, anything else is whole."""
    for letter in pattern:
        policy.account([make_drop(policy.seen) if letter == "x" else None])


def raising(error: Exception):
    def work() -> None:
        raise error

    return work


def test_a_result_passes_through():
    assert attempt(lambda: 5) == 5


@pytest.mark.parametrize(
    ("error", "ends_run"),
    [
        (ValueError("odd clip"), False),
        (TypeError("None where a time was"), False),
        (av.error.InvalidDataError(1, "invalid data"), False),
        (av.error.PermissionError(13, "from FFmpeg, and an OSError by descent"), False),
        (DamagedShardError("00000.tar", "cut", 512), True),
        (StoreError("server gone"), True),
        (NotFoundError("shard gone"), True),
        (OSError(28, "disk full"), True),
        (MemoryError(), True),
    ],
)
def test_errors_are_blamed_on_the_sample_or_the_run(error: Exception, ends_run: bool):  # noqa: FBT001 - a parameter
    assert attempt(raising(error)) == Failure(error, ends_run)


def test_an_interrupt_is_no_failure_of_a_sample():
    with pytest.raises(KeyboardInterrupt):
        attempt(raising(KeyboardInterrupt()))


def test_drops_in_a_row_stop_the_run():
    policy = DropPolicy(DropBudget(share=1.0, in_a_row=3))
    account(policy, "xx.xx.")
    account(policy, "xx")
    with pytest.raises(TooManyDropsError, match="3 samples in a row") as caught:
        account(policy, "x")
    for part in ("000000008_00000", "shard 00003", "BrokenClipError: no frames"):
        assert part in str(caught.value)
    assert (policy.seen, policy.dropped) == (9, 7)


def test_a_share_of_the_window_stops_the_run():
    policy = DropPolicy(DropBudget(share=0.2, window=10, in_a_row=100))
    account(policy, "x.x.......x.x...")
    assert policy.dropped == 4
    with pytest.raises(TooManyDropsError, match="3 of the last 10"):
        account(policy, "x")


def test_the_first_drops_of_a_run_do_not_stop_it():
    policy = DropPolicy(DropBudget())
    account(policy, "x." * 100)
    with pytest.raises(TooManyDropsError, match="101 of the last 201 samples"):
        account(policy, "x")


def test_no_share_means_no_drop():
    policy = DropPolicy(DropBudget(share=0.0))
    account(policy, "....")
    with pytest.raises(TooManyDropsError, match="1 of the last 5"):
        account(policy, "x")


def test_the_log_names_every_drop_even_the_last(tmp_path: Path):
    log = tmp_path / "run" / "drops.jsonl"
    account(DropPolicy(DropBudget(), log), "..x.x")
    odd = Drop(9, 1, "00001", "k", "ValueError", "caption “x”\nwith \udce9 in it")
    with pytest.raises(TooManyDropsError, match=r"drops\.jsonl"):
        DropPolicy(DropBudget(share=0), log).account([odd, None])
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["position"] for line in lines] == [2, 4, 9]
    assert lines[0] == {
        "position": 2,
        "epoch": 0,
        "shard": "00003",
        "key": "000000002_00000",
        "reason": "BrokenClipError",
        "message": "no frames",
    }
    assert lines[2]["message"].startswith("caption “x”\nwith ")


def test_no_drop_writes_no_log(tmp_path: Path):
    account(DropPolicy(DropBudget(), tmp_path / "drops.jsonl"), "....")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "value"), [("share", -0.1), ("share", 1.5), ("window", 0), ("in_a_row", 0)])
def test_wrong_budgets_are_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"^{name} "):
        DropBudget(**{name: value})
