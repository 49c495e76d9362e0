"""The run: batch after batch to the last step, or until a signal, with a checkpoint every so often."""

from __future__ import annotations

import logging

from train.build import Run
from train.metrics import RunLog
from train.optim import flatten_adamw
from train.parallel import next_together
from train.state import TrainState

_log = logging.getLogger(__name__)


def train(run: Run) -> bool:
    """Step to the end, or until a signal or the data's failure; save; tell whether it was the end.

    Raises:
        ValueError, OSError: the data or the numbers do not allow to go on; the message says what to do. Where it is the
            data, the last whole step is saved first.
    """
    settings, total, state = run.config.train, run.rates.total_steps, run.state
    batches, failure = iter(run.loader), None
    with RunLog(run.folder, run.ranks, state, run.pace) as log:
        while state.step < total:
            with log.waiting():
                taken = next_together(batches, run.ranks, run.stop)
            if taken.batch is None:
                failure = taken.error
                break
            rate = run.rates.at(state.step)
            result = run.step(taken.batch, state.step, rate)
            state = state.advance(run.config.data.batch_size, run.loader.state_dict())
            log.add(state, result, taken.batch.keys, rate)
            if state.step % settings.checkpoint_every == 0:
                save(run, state, log)
        if state.step % settings.checkpoint_every and state.step > run.state.step:
            save(run, state, log)
        if failure is not None:
            raise failure
    _log.info("%s at step %d of %d", "done" if state.step >= total else "stopped", state.step, total)
    return state.step >= total


def save(run: Run, state: TrainState, log: RunLog) -> None:
    """Write a checkpoint and all logs up to it, and wait for all ranks."""
    log.flush()
    with log.pausing():
        if run.ranks.first:
            run.saves.save(state, run.step.objective.state_dict(), flatten_adamw(run.step.optimizer))
        run.folder.publish()
        run.ranks.wait()
    _log.info("checkpoint of step %d written", state.step)
