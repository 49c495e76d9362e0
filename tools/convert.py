"""The convert command: weights from any known layout to any other, with a word about every key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import torch

from model.entries import require_same_entries, shapes_of
from model.folded_names import fold_names
from model.kinds import build_network, find_kind
from model.layouts import Reading, count_types, read_checkpoint, write_checkpoint
from model.plain import config_from_plain, config_to_plain
from model.saved import Description, is_described
from pipelines.foreign_files import is_safetensors, read_foreign, require_file
from pipelines.weights import WeightsFile, local_copy, read_local
from shards.store import open_store, split_url
from tools.console import DONE, printable
from tools.conversion_target import OWN, parse_target, require_layout, write_target
from tools.settings_text import parse_settings, spell_settings

_SEED: Final = 0
"""Fresh weights are drawn from this seed, so that the same command writes the same file."""

_KEPT: Final = ("image_size", "frames", "heads", "norm_eps")
"""Fields that a classifier takes over from a pretraining network of ours."""


@dataclass(frozen=True)
class ConvertRequest:
    """What the user asks for.

    Attributes:
        source: Path or URL of the file that is read.
        out: Path or URL of the file that is written.
        layout: Layout of ``source``; None finds it by the keys.
        to: Layout of ``out``, with ``:WRAPPER`` for torch files, or None for our own file.
        kind: Kind of network to make, where a file makes several; None takes the file's own.
        settings: Fields of the configuration as ``name=value``.
        trust: Run code that the file holds.
    """

    source: str
    out: str
    layout: str | None = None
    to: str | None = None
    kind: str | None = None
    settings: tuple[str, ...] = ()
    trust: bool = False


@dataclass(frozen=True)
class ConvertReport:
    """What became of every key, and what the network is.

    Attributes:
        source: The file that was read.
        layout: Its layout.
        wrapper: Entry that its weights lay under, or None.
        out: The file that was written.
        to: Its layout.
        kind: Kind of network.
        config: Its configuration.
        assumed: Fields that no weight tells and nobody gave, with the values taken.
        parameters: Number of learned values.
        dtypes: How many tensors of the source had which type; floating-point ones are float32 now.
        used: Keys of the source that became weights.
        left: Keys of the source that did not, each with the reason.
        fresh: Weights that the source does not hold; they have first values.
        written: Keys of ``out``.
        unwritten: Weights that have no place in the layout of ``out``, each with the reason.
    """

    source: str
    layout: str
    wrapper: str | None
    out: str
    to: str
    kind: str
    config: Mapping[str, Any]
    assumed: Mapping[str, Any]
    parameters: int
    dtypes: Mapping[str, int]
    used: tuple[str, ...]
    left: Mapping[str, str]
    fresh: tuple[str, ...]
    written: tuple[str, ...] = ()
    unwritten: Mapping[str, str] = field(default_factory=dict)


def run_convert(request: ConvertRequest, *, as_json: bool = False) -> int:
    """Convert a weights file and say what became of every key; return the exit status.

    Raises:
        ValueError: The request is at odds with itself, or the file is no checkpoint of the layout; see the message.
        StoreError: A file is not there, or cannot be read or written.
        StoppedError: There is no room for the file.
    """
    try:
        report = convert(request)
    except ValueError as error:
        raise ValueError(printable(str(error))) from error  # keys of files are spelt out: the line stays one
    print(json.dumps(asdict(report)) if as_json else "\n".join(map(printable, report_lines(report))))
    return DONE


def convert(request: ConvertRequest) -> ConvertReport:
    """Convert a weights file.

    Raises:
        ValueError, StoreError, StoppedError: As ``run_convert``.
    """
    target = parse_target(request.to, request.out)
    reading = read_any(request)
    entries, unwritten = reading.weights, dict[str, str]()
    if target.layout != OWN:
        laid_out = write_checkpoint(target.layout, reading.kind, reading.config, reading.weights)
        entries, unwritten = laid_out.entries, dict(laid_out.left)
    write_target(request.out, target, entries, Description(reading.kind, reading.config))
    return ConvertReport(
        source=request.source,
        layout=reading.layout,
        wrapper=reading.wrapper,
        out=request.out,
        to=target.layout,
        kind=reading.kind,
        config=config_to_plain(reading.config),
        assumed=reading.assumed,
        parameters=_count_parameters(reading),
        dtypes=reading.dtypes,
        used=reading.used,
        left=reading.left,
        fresh=reading.fresh,
        written=tuple(entries),
        unwritten=unwritten,
    )


def read_any(request: ConvertRequest) -> Reading:
    """Read a weights file of ours or of any known layout.

    Raises:
        ValueError, StoreError: As ``run_convert``.
    """
    given = parse_settings(request.settings)
    if request.layout is not None:
        require_layout(request.layout)
    if request.kind is not None:
        find_kind(request.kind)
    require_file(request.source)
    with local_copy(request.source) as path:
        stored = read_local(path, source=request.source) if is_safetensors(path) else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        if stored is not None and is_described(stored.metadata):
            return _read_own(request, stored, given)
        if request.layout == OWN:
            raise ValueError(f"{request.source} is no file of ours: it does not say what network it holds")
        found = stored.tensors if stored else read_foreign(request.source, trust=request.trust)
        given = _run_settings(request.source) | given
        try:
            return read_checkpoint(found, layout=request.layout, kind=request.kind, given=given)
        except ValueError as error:
            raise ValueError(f"{request.source}: {error}") from error


def report_lines(report: ConvertReport) -> list[str]:
    """Return a report as a person reads it: every key is named, those of many blocks in one."""
    under = f" under {report.wrapper}" if report.wrapper else ""
    types = ", ".join(f"{count} {name}" for name, count in report.dtypes.items())
    cast = "; made float32" if any(_is_cast(name) for name in report.dtypes) else ""
    lines = [
        f"{report.source}: layout {report.layout}{under}, a {report.kind} of {report.parameters:,} parameters",
        f"  configuration: {' '.join(spell_settings(report.config))}",
        f"  used: {len(report.used)} keys ({types}{cast})",
    ]
    if report.assumed:
        lines.insert(2, f"  no weight tells, taken: {' '.join(spell_settings(report.assumed))} (--set gives others)")
    lines += _grouped("left over", report.left)
    if report.fresh:
        lines.append(f"  fresh: {len(report.fresh)} weights: {', '.join(fold_names(report.fresh))}")
    lines += _grouped("not written", report.unwritten)
    return [*lines, f"{report.out}: layout {report.to}, {len(report.written)} keys"]


def _read_own(request: ConvertRequest, stored: WeightsFile, given: dict[str, Any]) -> Reading:
    if request.layout not in (None, OWN):
        raise ValueError(f"{request.source} is a file of ours, and not of the layout {request.layout}")
    about = Description.from_metadata(stored.metadata, source=stored.source)
    if request.kind not in (None, about.kind):
        laid_out = write_checkpoint("videomae", about.kind, about.config, stored.tensors)
        kept = {name: value for name, value in config_to_plain(about.config).items() if name in _KEPT}
        reading = read_checkpoint(laid_out.entries, layout="videomae", kind=request.kind, given=kept | given)
        return replace(reading, layout=OWN)
    plain = _merged(config_to_plain(about.config), given)
    _require_depths(plain, stored)
    config = config_from_plain(find_kind(about.kind).config, plain)
    with torch.device("meta"):
        wanted = shapes_of(build_network(about.kind, config).state_dict())
    require_same_entries(shapes_of(stored.tensors), wanted, f"{stored.source} does not hold the network that it should")
    return Reading(
        layout=OWN,
        wrapper=None,
        kind=about.kind,
        config=config,
        assumed={},
        weights=stored.tensors,
        used=tuple(stored.tensors),
        left={},
        fresh=(),
        dtypes=count_types(stored.tensors),
    )


def _run_settings(source: str) -> dict[str, Any]:
    """Return the model's fields of the run that a checkpoint belongs to: a ``state.json`` beside it tells them."""
    parent, name = split_url(source)
    store = open_store(parent)
    if name != "model.safetensors" or not store.exists("state.json"):
        return {}
    try:
        found = json.loads(store.read("state.json"))
    except ValueError as error:
        raise ValueError(f"{parent}/state.json, which tells the sizes of {source}, is damaged: {error}") from error
    for name in ("config", "model"):
        found = found.get(name) if isinstance(found, Mapping) else None
    fields = found if isinstance(found, Mapping) else {}
    return {name: value for name, value in fields.items() if name != "kind"}  # which the weights' names tell


def _merged(plain: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(plain)
    for name, value in given.items():
        inner = merged.get(name)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[name] = _merged(inner, value) if both else value  # type: ignore[arg-type]  # both are mappings
    return merged


def _require_depths(plain: Mapping[str, Any], stored: WeightsFile) -> None:
    """Check that there are not more blocks than tensors: to build them only to compare would take all memory."""
    for name, value in plain.items():
        if isinstance(value, Mapping):
            _require_depths(value, stored)
        elif name.endswith("depth") and isinstance(value, int) and value > len(stored.tensors):
            raise ValueError(f"{name} is {value}, and {stored.source} holds {len(stored.tensors)} tensors in all")


def _count_parameters(reading: Reading) -> int:
    with torch.device("meta"):
        network = build_network(reading.kind, reading.config)
    return sum(parameter.numel() for parameter in network.parameters())


def _is_cast(dtype: str) -> bool:
    return "float" in dtype and dtype != "float32"


def _grouped(what: str, reasons: Mapping[str, str]) -> list[str]:
    return [
        f"  {what}, {why}: {', '.join(fold_names(name for name, each in reasons.items() if each == why))}"
        for why in dict.fromkeys(reasons.values())
    ]
