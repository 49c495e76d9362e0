"""``python -m train.submit``: the settings of ``python -m train`` for a Slurm job, by Hydra's submitit launcher."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Final

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from train.__main__ import DONE, FAILED, USAGE, complain, explain, start
from train.schema import register, to_run_config

_LAUNCHER: Final = "hydra/launcher"
_NEEDED: Final = "hydra_plugins.hydra_submitit_launcher"
_PACKAGE: Final = "hydra-submitit-launcher"
_TRACEBACKS: Final = "HYDRA_FULL_ERROR"


def main() -> int:
    """Hand the run, or each run of a sweep, to the launcher, wait for the jobs, and return the exit status."""
    sys.argv[0] = "python -m train.submit"  # how usage messages call us
    os.environ[_TRACEBACKS] = "1"  # so that Hydra hands over its errors, here and in the job
    register()
    try:
        sys.argv[1:] = arguments(sys.argv[1:])
        hydra.main(version_base="1.3", config_path="pkg://train.conf", config_name="config")(job)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        complain(explain(error))
        return USAGE
    except RuntimeError as error:
        complain(explain(error))
        return FAILED
    return DONE


def arguments(given: list[str]) -> list[str]:
    """Return a command line with the launcher in it: ``hydra/launcher=slurm`` unless another one is named.

    Raises:
        ValueError: the launcher's package is absent, or runs of a sweep would share a folder.
    """
    try:
        importlib.import_module(_NEEDED)
    except ModuleNotFoundError:
        raise ValueError(f"a Slurm job is started by {_PACKAGE}, which is not here: pip install {_PACKAGE}") from None
    parsed = OverridesParser.create().parse_overrides([each for each in given if not each.startswith("-")])
    named = {each.key_or_group: each for each in parsed}
    swept = [name for name, each in named.items() if each.is_sweep_override()]
    own = "out" in named and ("out" in swept or "${" in str(named["out"].value()))
    if swept and not own:
        raise ValueError(
            f"{swept[0]} has several values, and each run needs a folder of its own: give out='runs/${{hydra:job.num}}'"
        )
    launcher = [] if _LAUNCHER in named else [f"{_LAUNCHER}=slurm"]
    return [*given, *launcher, "--multirun"]


def job(composed: DictConfig) -> None:
    """Be one rank of the run, inside the job.

    Raises:
        RuntimeError: the run has not come to its end; the status is that of ``python -m train``.
    """
    os.environ.pop(_TRACEBACKS, None)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment = importlib.import_module("submitit.helpers").TorchDistributedEnvironment()
    environment.export(set_cuda_visible_devices=False)  # a rank takes the device of its local number itself
    config = to_run_config(composed)
    config.require_shares(int(os.environ["WORLD_SIZE"]))
    status = start(config)
    if status != DONE:
        raise RuntimeError(f"the run ended with status {status}; the job's log says why")


if __name__ == "__main__":
    sys.exit(main())
