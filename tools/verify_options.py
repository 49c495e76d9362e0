"""Every option of the verify command, in groups: one line each, and an example a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import typer

from tools.option_groups import OptionGroup
from tools.shard_options import ExecutorName

_DECODE: Final = "Decode every frame of every clip, and count them."
_SAMPLE: Final = "Decode so many clips only, drawn from the whole dataset."
_SEED: Final = "What the draw of --sample depends on."
_SHARDS: Final = "Look at these shards only, such as 3,7-9.  [default: all]"
_REPAIR: Final = "Put files back that can be made again byte for byte from those that are sound."
_WORKERS: Final = "Shards that are read at a time; with --decode, processes.  [default: by the machine's cores]"
_EXECUTOR: Final = "Who decodes: processes of this machine, or those of a Ray cluster's nodes."
_ADDRESS: Final = "Ray cluster to work on.  [default: RAY_ADDRESS, or one that runs here, or a new one here]"
_TIMEOUT: Final = "Seconds that a clip may take to be decoded before it is given up."
_MEMORY: Final = "Memory that a process may hold; a clip that needs more cannot be decoded."
_LOG: Final = "File that gets a JSON line for every problem, however many there are of one file."


@dataclass(frozen=True, slots=True)
class VerifyOptions(OptionGroup):
    """What is looked at, and what is done about what is wrong."""

    heading: ClassVar[str] = "What is looked at, and what is done about it"
    example: ClassVar[str] = "vidloom verify corpus --repair"

    decode: Annotated[bool, typer.Option("--decode", help=_DECODE)] = False
    sample: Annotated[int | None, typer.Option(metavar="N", help=_SAMPLE)] = None
    seed: Annotated[int, typer.Option(min=0, help=_SEED)] = 0
    shards: Annotated[str | None, typer.Option(metavar="LIST", help=_SHARDS)] = None
    repair: Annotated[bool, typer.Option("--repair", help=_REPAIR)] = False


@dataclass(frozen=True, slots=True)
class DecodeRunOptions(OptionGroup):
    """Who does the work, and where it is told."""

    heading: ClassVar[str] = "Run: who does the work, and where it is told"
    example: ClassVar[str] = "vidloom verify s3://bucket/corpus --decode --executor ray --json"

    workers: Annotated[int | None, typer.Option(help=_WORKERS)] = None
    executor: Annotated[ExecutorName, typer.Option(help=_EXECUTOR)] = "local"
    ray_address: Annotated[str | None, typer.Option(help=_ADDRESS)] = None
    clip_timeout: Annotated[float, typer.Option(help=_TIMEOUT)] = 300.0
    worker_memory: Annotated[str, typer.Option(help=_MEMORY)] = "4GiB"
    log: Annotated[str | None, typer.Option(metavar="FILE", help=_LOG)] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")] = False
