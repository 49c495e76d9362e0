"""The run's log: a line a step and no more, written in batches, whatever killed the run before."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from shards.store import open_store
from train.dataset_losses import PREFIX, DatasetLosses
from train.guard import NotFiniteError
from train.metrics import (
    EVALUATIONS,
    METRICS,
    Pace,
    RunLog,
    cut_drops,
    drop_log,
    log_folder,
    read_metrics,
)
from train.parallel import Ranks
from train.state import TrainState
from train.step import StepResult

ALONE = Ranks(0, 1, torch.device("cpu"))
PACE = Pace(total_steps=10, epoch_samples=16, log_every=2)


def result(loss=1.0, norm=2.0, drops=0, **more):
    skipped = torch.tensor(drops < 4 and not (math.isfinite(loss) and math.isfinite(norm)))
    losses = {"reconstruction": torch.tensor(loss)}
    return StepResult(losses, torch.tensor(norm), torch.tensor(drops), skipped=skipped, **more)


def state(step):
    return TrainState({}, step=step, samples=4 * step, loader={})


def keys(step):
    return [f"{4 * step + at:09d}_00000" for at in range(4)]


def write(folder, first, last, **kwargs):
    with RunLog(folder, ALONE, state(first), PACE) as log:
        for step in range(first, last):
            with log.waiting():
                pass
            log.add(state(step + 1), result(**kwargs), keys(step), 0.1)
        log.flush()


@pytest.fixture
def folder(tmp_path):
    with log_folder(open_store(tmp_path / "run")) as opened:
        yield opened


def test_a_line_for_every_step(folder):
    write(folder, 0, 3, drops=1)
    lines = read_metrics(folder.path / METRICS)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[1] | {"clips_per_s": 0, "data_wait": 0} == {
        "step": 2,
        "epoch": 0.5,
        "loss": 1.0,
        "loss/reconstruction": 1.0,
        "lr": 0.1,
        "grad_norm": 2.0,
        "skipped": False,
        "clips_per_s": 0,
        "data_wait": 0,
        "drops": 1,
        "keys_sha": hashlib.sha256("\n".join(keys(1)).encode()).hexdigest(),
    }
    assert all(0 <= line["data_wait"] <= 1 and line["clips_per_s"] > 0 for line in lines)


def test_lines_come_in_batches(folder):
    with RunLog(folder, ALONE, state(0), PACE) as log:
        log.add(state(1), result(), keys(0), 0.1)
        assert read_metrics(folder.path / METRICS) == []
        log.add(state(2), result(), keys(1), 0.1)
        assert len(read_metrics(folder.path / METRICS)) == 2


def test_a_resumed_run_writes_no_step_twice(folder):
    write(folder, 0, 6)
    with (folder.path / METRICS).open("a") as file:
        file.write('{"step": 7, "lo')
    write(folder, 4, 8, loss=3.0)
    lines = read_metrics(folder.path / METRICS)
    assert [(line["step"], line["loss"]) for line in lines] == [(s, 1.0 if s <= 4 else 3.0) for s in range(1, 9)]


def drops_of(folder):
    return {
        name: [json.loads(line)["position"] for line in folder.store.read(name).splitlines()]
        for name in folder.store.list("drops/")
    }


def dropping(folder, ranks):
    for rank in range(ranks):
        lines = [json.dumps({"position": position}) for position in range(rank, 20, ranks)]
        folder.file(drop_log(rank)).write_text("\n".join(lines) + "\n")


def test_each_rank_cuts_its_drop_log_and_the_first_those_of_no_one(folder):
    dropping(folder, 4)
    cut_drops(folder, Ranks(1, 2, ALONE.device), 8)
    whole = {drop_log(rank): list(range(rank, 20, 4)) for rank in range(4)}
    assert drops_of(folder) == whole | {drop_log(1): [1, 5]}
    cut_drops(folder, Ranks(0, 2, ALONE.device), 8)
    assert drops_of(folder) == {drop_log(rank): [rank, rank + 4] for rank in range(4)}


def test_drops_of_images_are_cut_apart_from_those_of_clips(folder):
    for name in (drop_log(0), drop_log(0, "images")):
        folder.file(name).write_text('{"position": 2}\n{"position": 5}\n')
    cut_drops(folder, ALONE, 3, "images")
    assert drops_of(folder) == {drop_log(0): [2, 5], drop_log(0, "images"): [2]}


def test_a_remote_drop_log_is_cut_too(object_store):
    store = open_store(object_store.make_bucket("drops") + "/run")
    with log_folder(store) as folder:
        dropping(folder, 2)
    with log_folder(store) as folder:
        cut_drops(folder, ALONE, 3)
    with log_folder(store) as folder:
        assert drops_of(folder) == {drop_log(0): [0, 2], drop_log(1): [1]}


def test_tensorboard_has_the_scalars(folder):
    write(folder, 0, 3)
    events = EventAccumulator(str(folder.path / "tensorboard")).Reload()
    assert {"train/loss", "train/lr", "train/data_wait", "train/clips_per_s"} <= set(events.Tags()["scalars"])
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1.0), (2, 1.0), (3, 1.0)]


def test_the_log_line_says_how_the_run_fares(folder, caplog):
    caplog.set_level(logging.INFO)
    write(folder, 0, 2, drops=1)
    (line,) = [message for message in caplog.messages if message.startswith("step ")]
    for part in ("step 2/10", "epoch 0.50", "loss 1.0000", "lr 0.1", "clips/s", "data wait ", "2 dropped"):
        assert part in line


@pytest.mark.parametrize("bad", [{"loss": float("nan")}, {"loss": float("inf")}, {"norm": float("nan")}])
def test_numbers_that_are_none_end_the_run(folder, bad):
    with pytest.raises(NotFiniteError, match=r"at step 1.* lower optim\.lr"):
        write(folder, 0, 2, **bad)
    text = (folder.path / METRICS).read_text()
    assert [json.loads(line)["step"] for line in text.splitlines()] == [1, 2]
    assert "NaN" not in text


def test_so_many_broken_steps_as_told_are_let_pass(folder, caplog):
    lenient = replace(PACE, skip_nonfinite=2)

    def run(losses):
        with RunLog(folder, ALONE, state(0), lenient) as log:
            for step, loss in enumerate(losses):
                log.add(state(step + 1), result(loss=loss), keys(step), 0.1)
            log.flush()

    nan = float("nan")
    caplog.set_level(logging.INFO)
    run([1.0, nan, nan, 1.0, nan, 1.0])
    assert [line["skipped"] for line in read_metrics(folder.path / METRICS)] == [False, True, True, False, True, False]
    assert "1 skipped" in next(message for message in caplog.messages if message.startswith("step 2/"))
    # The three in a row are told of in two lots.
    with pytest.raises(NotFiniteError, match=r"loss null and gradient norm 2.0 at step 5, 3 steps in a row"):
        run([1.0, 1.0, nan, nan, nan, 1.0])


def test_every_loss_and_gauge_has_its_number(folder, caplog):
    caplog.set_level(logging.INFO)
    losses = {"contrastive": torch.tensor(2.0), "captioning": torch.tensor(3.0)}
    report = StepResult(
        losses,
        torch.tensor(1.0),
        torch.tensor(0),
        loss=torch.tensor(2.0 + 0.5 * 3.0),
        gauges={"logit_scale": torch.tensor(2.5)},
    )
    with RunLog(folder, ALONE, state(0), PACE) as log:
        log.add(state(1), report, keys(0), 0.1)
        log.flush()
    (line,) = read_metrics(folder.path / METRICS)
    assert (line["loss"], line["loss/contrastive"], line["loss/captioning"], line["logit_scale"]) == (
        3.5,
        2.0,
        3.0,
        2.5,
    )
    (said,) = [message for message in caplog.messages if message.startswith("step ")]
    assert "loss 3.5000 (contrastive 2.0000, captioning 3.0000)" in said
    events = EventAccumulator(str(folder.path / "tensorboard")).Reload()
    assert {"train/loss/contrastive", "train/logit_scale", "train/skipped"} <= set(events.Tags()["scalars"])


def test_datasets_are_told_apart_where_there_are_several(folder, caplog):
    """Of the second step's images nothing is told; of the first step no clip is of the second dataset."""
    caplog.set_level(logging.INFO)
    sums = [torch.tensor([[[4.0, 0.0], [2.0, 0.0]]]), None, torch.tensor([[[6.0, math.nan], [2.0, 1.0]]])]
    pace = replace(PACE, log_every=3, datasets=("films", "shorts"))
    with RunLog(folder, ALONE, state(0), pace) as log:
        for step, apart in enumerate(sums):
            log.add(state(step + 1), result(by_dataset=apart), keys(step), 0.1)
    lines = read_metrics(folder.path / METRICS)
    assert [{name: line[name] for name in line if name.startswith(PREFIX)} for line in lines] == [
        {f"{PREFIX}films/reconstruction": 2.0, f"{PREFIX}shorts/reconstruction": None},
        {},
        {f"{PREFIX}films/reconstruction": 3.0, f"{PREFIX}shorts/reconstruction": None},
    ]
    assert any("(films 2.5000, shorts none)" in message for message in caplog.messages)
    events = EventAccumulator(str(folder.path / "tensorboard")).Reload()
    assert [point.value for point in events.Scalars(f"train/{PREFIX}films/reconstruction")] == [2.0, 3.0]


def test_two_losses_are_told_by_name_and_ranks_exchange_once_an_interval(monkeypatch):
    exchanged = []
    monkeypatch.setattr(Ranks, "add_up", lambda _self, sums: exchanged.append(1) or 2 * sums)
    sums = torch.tensor([[[4.0], [2.0]], [[9.0], [3.0]]])
    losses = {"contrastive": torch.tensor(2.0), "captioning": torch.tensor(3.0)}
    steps = [StepResult(losses, torch.tensor(1.0), torch.tensor(0), by_dataset=sums) for _ in range(5)]
    found = DatasetLosses(steps, ("films",), ALONE)
    assert exchanged == [1]
    assert found.of_step(4) == {f"{PREFIX}films/contrastive": 2.0, f"{PREFIX}films/captioning": 3.0}
    assert found.told() == "films/contrastive 2.0000, films/captioning 3.0000"


def test_utilisation_is_what_is_done_of_what_could_be(folder, caplog, monkeypatch):
    """Six samples of 10^12 FLOP in 3 seconds are 2 TFLOP/s, and one device of two did half of it."""
    caplog.set_level(logging.INFO)
    clock = [0.0]
    monkeypatch.setattr("train.metrics.time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(Ranks, "gather", lambda _self, value: [value, value])
    with RunLog(folder, Ranks(0, 2, ALONE.device), state(0), replace(PACE, peak_tflops=4.0)) as log:
        clock[0] += 3.0
        log.add(state(1), result(flops=10**12, rows=torch.tensor(6), drops=1), keys(0), 0.1)
        log.flush()
    (line,) = read_metrics(folder.path / METRICS)
    assert (line["tflops"], line["mfu"]) == (1.0, 0.25)
    assert line["clips_per_s"] == pytest.approx(5 / 3, abs=1e-3)
    (said,) = [message for message in caplog.messages if message.startswith("step ")]
    assert "1 TFLOP/s, MFU 25.0 %" in said


def test_utilisation_is_left_out_where_nobody_knows_the_peak(folder):
    write(folder, 0, 2, flops=10**12)
    assert not {"tflops", "mfu"} & read_metrics(folder.path / METRICS)[0].keys()


def test_evaluations_have_their_own_lines_and_are_cut_with_the_run(folder, caplog):
    caplog.set_level(logging.INFO)
    for first in (0, 2):
        with RunLog(folder, ALONE, state(first), PACE) as log:
            for step in range(first + 1, 5):
                log.evaluated(state(step), {"r1": 10.0 * step + first, "loss": float("nan")})
    assert [line["r1"] for line in read_metrics(folder.path / EVALUATIONS)] == [10.0, 20.0, 32.0, 42.0]
    assert read_metrics(folder.path / EVALUATIONS)[0]["loss"] is None
    assert "evaluation at step 4: r1 42, loss nan" in caplog.messages
    events = EventAccumulator(str(folder.path / "tensorboard")).Reload()
    assert "eval/r1" in events.Tags()["scalars"]


def test_ranks_but_the_first_write_no_evaluation(folder):
    with RunLog(folder, Ranks(1, 2, ALONE.device), state(0), PACE) as log:
        log.evaluated(state(1), {"r1": 1.0})
    assert not (folder.path / EVALUATIONS).exists()


def test_a_batch_without_a_valid_sample_is_no_error(folder):
    write(folder, 0, 2, loss=float("nan"), norm=0.0, drops=4)
    assert [line["loss"] for line in read_metrics(folder.path / METRICS)] == [None, None]


def test_what_a_failing_run_saw_is_written(folder):
    def fail():
        with RunLog(folder, ALONE, state(0), PACE) as log:
            log.add(state(1), result(), keys(0), 0.1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert len(read_metrics(folder.path / METRICS)) == 1


def test_checkpoints_do_not_slow_the_reported_speed(folder, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("train.metrics.time.perf_counter", lambda: clock[0])
    with RunLog(folder, ALONE, state(0), PACE) as log:
        for step in range(2):
            with log.waiting():
                clock[0] += 1.0
            clock[0] += 3.0
            with log.pausing():
                clock[0] += 100.0
            log.add(state(step + 1), result(), keys(step), 0.1)
    assert [(line["clips_per_s"], line["data_wait"]) for line in read_metrics(folder.path / METRICS)] == [
        (1.0, 0.25)
    ] * 2


def test_a_remote_run_keeps_one_history(object_store):
    store = open_store(object_store.make_bucket("logs") + "/run")
    with log_folder(store) as folder:
        write(folder, 0, 4)
    with log_folder(store) as folder:
        write(folder, 3, 6)
    lines = [json.loads(line) for line in store.read(METRICS).splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert len([name for name in store.list("tensorboard/") if "tfevents" in name]) == 2
