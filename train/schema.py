"""From what Hydra composes to the run's configuration: known names, types, and one sentence for each mistake."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final, get_args, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from model.plain import config_from_plain
from train.checks import require, require_choice
from train.config import RunConfig
from train.data_config import DataConfig
from train.optim_config import AdamWConfig
from train.stages import MODEL_KINDS, STAGES, ModelConfig
from train.train_config import InitConfig, TrainConfig

SECTIONS: Final[Mapping[str, type[Any]]] = {
    "data": DataConfig,
    "init": InitConfig,
    "optim": AdamWConfig,
    "train": TrainConfig,
}
"""The sections of the configuration that are the same for every stage and network, and their types."""


@dataclass
class _Schema:
    """What Hydra checks while it composes; what model and objective may hold is known once they are chosen."""

    stage: str = MISSING
    model: Any = MISSING
    objective: Any = MISSING
    data: Any = MISSING
    init: Any = MISSING
    optim: Any = MISSING
    train: Any = MISSING
    out: str = MISSING


def register() -> None:
    """Make the sections known to Hydra under the name ``schema``, so that it refuses unknown keys and wrong types."""
    schema = OmegaConf.structured(_Schema)
    for name, section in SECTIONS.items():
        schema[name] = OmegaConf.structured(section)
        # The nodes of frozen dataclasses refuse every change, also Hydra's, until they are told not to.
        OmegaConf.set_readonly(schema[name], value=None)
    # Factors are of any parameters.
    OmegaConf.set_struct(schema["optim"]["lr_scales"], value=False)
    ConfigStore.instance().store(name="schema", node=schema)


def known_keys() -> list[str]:
    """Return the dotted names of all settings, of whatever stage and network."""
    named = [("", RunConfig), *((f"{name}.", section) for name, section in SECTIONS.items())]
    named += [("objective.", stage.settings) for stage in STAGES.values()]
    named += [("model.", config) for config in MODEL_KINDS.values()]
    return list(dict.fromkeys(["model.kind", *(key for prefix, config in named for key in _fields(prefix, config))]))


def no_such_key(key: str) -> str:
    """Return what to say of a setting that does not exist."""
    alike = [known for known in known_keys() if known.count(".") == key.count(".")]
    near = difflib.get_close_matches(key, alike, n=1)
    # What is known is a setting of another stage or network.
    hint = "" if not near else " with this stage and model" if near[0] == key else f"; did you mean {near[0]}?"
    return f"there is no setting {key}{hint} (--help lists all)"


def to_run_config(composed: DictConfig) -> RunConfig:
    """Turn what Hydra composed into dataclasses; nothing after this knows Hydra.

    Raises:
        ValueError: a value is missing, unknown or out of its range, or two values do not fit each other.
    """
    _refuse_unknown(composed)
    if composed["data"]["mix"] and OmegaConf.is_missing(composed["data"], "train"):
        composed["data"]["train"] = None
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        told = ", ".join(f"{key}=..." for key in missing)
        raise ValueError(f"nothing says {', '.join(missing)}: add {told}")
    made = OmegaConf.to_object(composed)
    assert isinstance(made, _Schema)
    require_choice("stage", made.stage, tuple(STAGES))
    for name in ("model", "objective"):
        require(isinstance(getattr(made, name), Mapping), name, getattr(made, name), "settings by name")
    objective = config_from_plain(STAGES[made.stage].settings, made.objective, where="objective.")
    return RunConfig(**vars(made) | {"model": read_model(made.model), "objective": objective})


def read_model(plain: Mapping[str, Any]) -> ModelConfig:
    """Read a network's sizes from plain values, which name their kind.

    Raises:
        ValueError: an unknown kind or setting, or a value that does not fit.
    """
    kind = plain.get("kind")
    require_choice("model.kind", kind, tuple(MODEL_KINDS))
    sizes = {name: value for name, value in plain.items() if name != "kind"}
    made: ModelConfig = config_from_plain(MODEL_KINDS[str(kind)], sizes, where="model.")
    return made


def _fields(prefix: str, config: type[Any]) -> Iterator[str]:
    """Yield the names of a configuration's fields and of those inside them."""
    types_of = get_type_hints(config)
    for field in fields(config):
        yield prefix + field.name
        listed = get_origin(types_of[field.name]) is list  # named by number, so by no key of their own
        for part in () if listed else (types_of[field.name], *get_args(types_of[field.name])):
            if prefix and isinstance(part, type) and is_dataclass(part):
                yield from _fields(f"{prefix}{field.name}.", part)


def _refuse_unknown(composed: DictConfig) -> None:
    """Refuse what "+key=value" added, which Hydra lets pass."""
    given = [str(name) for name in composed]
    given += [f"{name}.{key}" for name in SECTIONS for key in composed[name]]
    known = set(known_keys())
    for key in given:
        if key not in known:
            raise ValueError(no_such_key(key))
