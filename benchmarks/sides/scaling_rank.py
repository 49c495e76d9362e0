"""One rank of a comparison of scaling: it loads its share of batches, or trains, on a core of its own."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Self

import torch

from pipelines import LoaderConfig, build_loader

# Started as: load CORE RANK WORLD FILE, or train CORE FILE. FILE has the work as JSON. Loading: every line that comes
# in is one round, every answer is one line of JSON; before, there is one line when the process is ready. Training: rank
# and world stand in torchrun's variables; at the end there is one line.

_LOOK_SECONDS: Final = 0.01


def main() -> None:
    """Do what is asked for on one core."""
    what, core, *more = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    torch.set_num_threads(1)
    answers = os.dup(1)
    os.dup2(2, 1)
    work: dict[str, Any] = json.loads(Path(more[-1]).read_text(encoding="utf-8"))
    with os.fdopen(answers, "w") as out:
        if what == "load":
            load(work, int(more[0]), int(more[1]), out)
        else:
            train(work, out)


def load(work: dict[str, Any], rank: int, world: int, out: Any) -> None:  # noqa: ANN401 - a text file
    """Serve rounds until the input ends: in each a new loader goes through the same batches of the whole run.

    An answer has CPU and wall seconds from the first batch, which is not counted, to the last one: nothing is ready
    before it is measured, as batches are taken as fast as they come. ``clips`` are keys with a digest of the pixels.
    """
    config = LoaderConfig(work["dataset"], rank=rank, world=world, decoder="host", workers=1, **work["loader"])
    print("{}", file=out, flush=True)
    for _ in sys.stdin:
        with build_loader(config) as loader:
            batches = [next(loader)]
            wall, cpu = time.perf_counter(), time.process_time()
            batches += [next(loader) for _ in range(work["batches"])]
            figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        clips = [
            f"{key} {digest(clip)}" for batch in batches for key, clip in zip(batch.keys, batch.video, strict=True)
        ]
        print(json.dumps({**figures, "clips": clips}), file=out, flush=True)


def digest(clip: torch.Tensor) -> str:
    """Return a digest of a clip's pixels."""
    return hashlib.sha256(clip.numpy().tobytes()).hexdigest()


def train(work: dict[str, Any], out: Any) -> None:  # noqa: ANN401 - a text file
    """Train as ``python -m train`` does, and answer with this rank's CPU seconds in the steps that are counted.

    Raises:
        SystemExit: training did not come to its end.
    """
    from hydra import compose, initialize_config_module  # noqa: PLC0415 - the loader's ranks need none of it

    from train.__main__ import start  # noqa: PLC0415
    from train.schema import register, to_run_config  # noqa: PLC0415

    register()
    with initialize_config_module("train.conf", version_base="1.3"):
        config = to_run_config(compose("config", overrides=work["overrides"]))
    with Watch(Path(work["metrics"]), [work["first"], work["steps"]]) as watch:
        if status := start(config):
            raise SystemExit(status)
    begun, ended = watch.used
    print(json.dumps({"cpu": ended - begun}), file=out, flush=True)


class Watch(AbstractContextManager["Watch"]):
    """Notes the CPU seconds of this process when a file of metrics has so many lines, each a step of all ranks."""

    def __init__(self, metrics: Path, steps: Sequence[int]) -> None:
        self.used: list[float] = []
        self._metrics, self._steps, self._over = metrics, list(steps), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.used += [time.process_time()] * (len(self._steps) - len(self.used))

    def _look(self) -> None:
        while len(self.used) < len(self._steps) and not self._over.wait(_LOOK_SECONDS):
            lines = self._metrics.read_bytes().count(b"\n") if self._metrics.exists() else 0
            if lines >= self._steps[len(self.used)]:
                self.used.append(time.process_time())


if __name__ == "__main__":
    main()
