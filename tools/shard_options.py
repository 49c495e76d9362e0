"""Every option of the shard command, in groups: one line each, and an example a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

import typer

from tools.option_groups import OptionGroup

ExecutorName = Literal["local", "ray"]
PresetName = Literal["copy", "train", "intra", "vp9", "mjpeg"]
AudioFate = Literal["keep", "drop"]

_ROOT: Final = "Folder or URL that the videos' paths start from.  [default: the table's]"
_OUTSIDE: Final = "Take videos outside the root, too."
_START: Final = "Column of the start, in seconds or HH:MM:SS.mmm.  [default: start, where the table has it]"
_END: Final = "Column of the end.  [default: end, where the table has it]"
_WORKERS: Final = "Processes that cut videos.  [default: one for each core, of this machine or of the cluster]"
_EXECUTOR: Final = "Whose processes: this machine's, or those of a Ray cluster's nodes."
_ADDRESS: Final = "Ray cluster to work on.  [default: RAY_ADDRESS, or one that runs here, or a new one here]"
_MEMORY: Final = "Memory that a process may hold; a video that needs more fails."
_ROW_TIMEOUT: Final = "Seconds that a video may be at work, with no clip of it done, before it is given up."
_FPS: Final = "Highest rate of encoded clips, in frames a second: of more, some are left out."
_AUDIO: Final = "What becomes of the sound of encoded and copied clips; whole copied files keep theirs."
_SIDE: Final = "Pixels of the shorter side of encoded clips; never enlarged.  [default: 256]"


@dataclass(frozen=True, slots=True)
class TableOptions(OptionGroup):
    """What is read of the input."""

    heading: ClassVar[str] = "Input: which rows, and what their columns mean"
    example: ClassVar[str] = "vidloom shard corpus.csv out --video-col path --caption-col text --root /data/videos"

    video_col: Annotated[str, typer.Option(help="Column of the video's path or URL.")] = "video"
    caption_col: Annotated[str, typer.Option(help="Column of the caption.")] = "caption"
    start_col: Annotated[str | None, typer.Option(help=_START)] = None
    end_col: Annotated[str | None, typer.Option(help=_END)] = None
    root: Annotated[str | None, typer.Option(help=_ROOT)] = None
    allow_outside: Annotated[bool, typer.Option("--allow-outside", help=_OUTSIDE)] = False
    limit: Annotated[int | None, typer.Option(help="Take the first so many rows only.")] = None


@dataclass(frozen=True, slots=True)
class ClipOptions(OptionGroup):
    """How clips are cut and stored."""

    heading: ClassVar[str] = "Clips: how they are cut and stored"
    example: ClassVar[str] = "vidloom shard corpus.csv out --preset train --short-side 224"

    preset: Annotated[PresetName, typer.Option(help="How clips are stored: copied where it goes, or encoded.")] = "copy"
    short_side: Annotated[int | None, typer.Option(help=_SIDE)] = None
    fps: Annotated[float | None, typer.Option(help=_FPS)] = None
    audio: Annotated[AudioFate, typer.Option(help=_AUDIO)] = "drop"


@dataclass(frozen=True, slots=True)
class KeepOptions(OptionGroup):
    """Which rows and clips become part of the dataset."""

    heading: ClassVar[str] = "Kept: which clips become part of the dataset"
    example: ClassVar[str] = "vidloom shard corpus.csv out --min-seconds 2 --max-seconds 30"

    min_seconds: Annotated[float | None, typer.Option(help="Leave out rows that ask for less.")] = None
    max_seconds: Annotated[float | None, typer.Option(help="Leave out rows that ask for more.")] = None


@dataclass(frozen=True, slots=True)
class DatasetOptions(OptionGroup):
    """What is written, and what of a dataset that is there already."""

    heading: ClassVar[str] = "Dataset: what is written"
    example: ClassVar[str] = "vidloom shard corpus.csv s3://bucket/corpus --shard-size 512MiB"

    shard_size: Annotated[str, typer.Option(help="Size that shards should come near.")] = "256MiB"


@dataclass(frozen=True, slots=True)
class RunOptions(OptionGroup):
    """Who does the work; none of these changes a byte of the dataset."""

    heading: ClassVar[str] = "Run: who does the work (changes no byte of the dataset)"
    example: ClassVar[str] = "vidloom shard corpus.csv out --workers 16 --row-timeout 300"

    workers: Annotated[int | None, typer.Option(help=_WORKERS)] = None
    executor: Annotated[ExecutorName, typer.Option(help=_EXECUTOR)] = "local"
    ray_address: Annotated[str | None, typer.Option(help=_ADDRESS)] = None
    row_timeout: Annotated[float, typer.Option(help=_ROW_TIMEOUT)] = 1200.0
    worker_memory: Annotated[str, typer.Option(help=_MEMORY)] = "4GiB"
