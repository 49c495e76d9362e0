"""The run: batch after batch to the last step, or until a signal, with a checkpoint every so often."""

from __future__ import annotations

import logging
from contextlib import nullcontext

from train.build import Run
from train.data_watch import DataWatch
from train.evaluate.in_training import evaluate
from train.export import export_run
from train.metrics import RunLog
from train.parallel import StopAskedError, next_together
from train.state import TrainState

_log = logging.getLogger(__name__)


def train(run: Run) -> bool:
    """Step to the end, or until a signal or a failure of the data; save; tell whether it was the end.

    An evaluation that the run was stopped in comes first. At the end the network is exported to ``final`` below the
    run's ``out``.

    Raises:
        ValueError, OSError: the data or the numbers do not allow to go on; the message says what to do. Where it is the
            data, the last whole step is saved first; where it is ``data.val``, in a run of one rank only, for ranks
            may not agree on what has failed.
    """
    settings, total, state = run.config.train, run.rates.total_steps, run.state
    with RunLog(run.folder, run.ranks, state, run.pace, DataWatch(run.feeds.loaders)) as log:
        failure = judge(run, state, log) if log.lacks_evaluation(state.step) else None
        while failure is None and state.step < total:
            with log.waiting():
                taken = next_together(run.feeds, run.ranks, run.stop)
            if taken.batch is None:
                failure = taken.error
                break
            rate = run.rates.at(state.step)
            result = run.step(taken.batch, state.step, rate)
            state = state.advance(run.feeds.samples - state.samples, run.feeds.state_dict())
            log.add(state, result, taken.batch.keys, rate)
            if state.step % settings.checkpoint_every == 0:
                save(run, state, log)
            failure = judge(run, state, log)
        if state.step % settings.checkpoint_every and state.step > run.state.step:
            save(run, state, log)
        if failure is not None and not isinstance(failure, StopAskedError):
            raise failure
    run.saves.finish()
    is_done = failure is None and state.step >= total
    if is_done:
        export(run)
    _log.info("%s at step %d of %d", "done" if is_done else "stopped", state.step, total)
    return is_done


def judge(run: Run, state: TrainState, log: RunLog) -> BaseException | None:
    """Evaluate the run where it is time, by the average of its weights where it keeps one.

    Returns:
        What stood in the way, in a run of one rank; or, on all ranks, that one of them was told to stop: the run then
        evaluates itself when it goes on.

    Raises:
        ValueError, OSError: the same on one of many ranks: the others may be waiting for it in the evaluation.
    """
    every = run.config.train.eval_every
    if every is None or not state.step or state.step % every:
        return None
    log.flush()
    try:
        with log.pausing(), run.step.ema.applied() if run.step.ema is not None else nullcontext():
            tokenizer = run.feeds.video.tokenizer
            figures = evaluate(run.step.objective, run.config, run.ranks, tokenizer=tokenizer, stop=run.stop)
    except StopAskedError as told:
        _log.info("the evaluation at step %d is left out until the run goes on", state.step)
        return told
    except (ValueError, OSError, MemoryError) as error:
        if run.ranks.world > 1:
            raise
        return error
    log.evaluated(state, figures)
    return None


def save(run: Run, state: TrainState, log: RunLog) -> None:
    """Write all logs up to a step, and begin to write its checkpoint: the run goes on while that is written."""
    log.flush()
    with log.pausing():
        run.folder.publish()
        run.saves.save(state, run.step.state_tensors())


def export(run: Run) -> None:
    """Write the network of the last checkpoint as a folder for use, and wait for all ranks."""
    if run.ranks.first:
        _log.info("the network is in %s", export_run(run.config.out).place)
    run.ranks.wait()
