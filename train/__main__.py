"""``python -m train``: settings from the command line by Hydra, then the run; one line for every mistake."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Final

if __name__ == "__main__":
    # What follows takes seconds to load, and Ctrl-C shall end that, too, without a page of text.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(130))

import hydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from train.config import RunConfig
from train.schema import no_such_key, register, to_run_config

DONE: Final = 0
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130
"""Exit status: the run came to its end; an error stopped it; wrong usage or unreadable input; a signal stopped it."""

_TRACEBACKS: Final = "HYDRA_FULL_ERROR"


def main() -> int:
    """Compose the settings, run, and return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # torch's compute threads spin while they wait, which starves the threads that decode; it reads this as it loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.argv[0] = "python -m train"  # how usage messages call us
    try:
        config = compose()
        return DONE if config is None else start(config)
    except KeyboardInterrupt:
        return INTERRUPTED


def compose() -> RunConfig | None:
    """Return the settings of the command line, or None where it asked for something else, such as ``--help``.

    Raises:
        SystemExit: the command line is wrong; one line has said how, and the status is 2.
    """
    register()
    composed: list[DictConfig] = []
    shown = os.environ.get(_TRACEBACKS)
    # Hydra hands over its errors under this variable; else it prints several lines itself and exits with status 1.
    os.environ[_TRACEBACKS] = "1"
    try:
        refuse_multirun(sys.argv[1:])
        hydra.main(version_base="1.3", config_path="pkg://train.conf", config_name="config")(composed.append)()
        return _fitting(composed[0]) if composed else None
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if shown == "1":
            raise
        if _rank() == 0:
            complain(explain(error))
        sys.exit(USAGE)
    finally:
        os.environ.pop(_TRACEBACKS)
        if shown is not None:
            os.environ[_TRACEBACKS] = shown


def _fitting(composed: DictConfig) -> RunConfig:
    config = to_run_config(composed)
    config.require_shares(int(os.environ.get("WORLD_SIZE", "1")))
    return config


def refuse_multirun(arguments: list[str]) -> None:
    """Refuse Hydra's sweeps.

    Raises:
        ValueError: the arguments ask for one.
    """
    if {"--multirun", "-m"} & set(arguments):
        raise ValueError("--multirun is not taken; start one run after the other")


def start(config: RunConfig) -> int:
    """Run with these settings and return the exit status; what a person can mend becomes one line."""
    # torch and DALI take seconds to load, and a wrong command line shall not wait for them.
    from train.build import prepare  # noqa: PLC0415 - the reason above
    from train.loop import train  # noqa: PLC0415 - the reason above
    from train.parallel import PeerFailedError, start_ranks  # noqa: PLC0415 - the reason above

    level = logging.INFO if _rank() == 0 else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("botocore.credentials").setLevel(logging.WARNING)  # it says where they come from, time and again
    status = USAGE
    try:
        with start_ranks(config.train.device) as ranks, prepare(config, ranks) as run:
            status = FAILED
            return DONE if train(run) else INTERRUPTED
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get(_TRACEBACKS) == "1":
            raise
        complain(explain(error))
        return FAILED if isinstance(error, PeerFailedError) else status


def explain(error: Exception) -> str:
    """Return what is wrong in one line, with what to do."""
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return no_such_key(cause.full_key)
    if isinstance(error, MissingConfigException):
        text = str(error).partition("Config search path:")[0].replace("\n\t", " ")
        return text.replace("In 'config': ", "").replace("\n\n", "; ")
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override}: {str(error).partition(chr(10))[0]}"
    reason = str(cause or "").partition("\n")[0]
    text = str(error) if reason in str(error) else f"{error}: {reason}"
    return text or type(error).__name__


def complain(text: str) -> None:
    """Write one line to the error stream, with the rank in a run of many."""
    place = "train" if os.environ.get("WORLD_SIZE", "1") == "1" else f"train, rank {_rank()}"
    sys.stderr.write(f"{place}: error: {' '.join(text.split())}\n")


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


if __name__ == "__main__":
    sys.exit(main())
