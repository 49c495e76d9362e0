"""Every option of the shard command, in groups: one line each, and an example a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

import typer

from tools.option_groups import OptionGroup

ExecutorName = Literal["local", "ray"]
TimeUnit = Literal["s", "ms", "us", "ns"]
PresetName = Literal["copy", "train", "intra", "vp9", "mjpeg"]
AudioFate = Literal["keep", "drop"]
ShotMode = Literal["clips", "cuts"]
DetectorName = Literal["content", "adaptive", "hash", "histogram"]
DedupMode = Literal["exact", "near"]
DedupBy = Literal["video", "caption", "either", "both"]

_INDEX: Final = "Readers to make indexes for: dali, energon, wids, open_clip, with commas between."
_RETRY: Final = "Try rows that failed for this reason again (a list, or again and again; failed: all reasons)."
_EXTEND: Final = "The input has grown at its end: add its new rows as new shards."
_ROOT: Final = "Folder or URL that the videos' paths start from.  [default: that of the inputs]"
_OUTSIDE: Final = "Take videos outside the root, too."
_FORMAT: Final = (
    "Corpus whose columns are known: webvid, msrvtt, internvid, howto100m, panda70m, hdvila, kinetics, chat ..."
)
_VIDEO: Final = "Column of the video's path or URL.  [default: video, or the format's]"
_TEMPLATE: Final = "Video's path made of columns, such as '{page_dir}/{videoid}.mp4'."
_CAPTION: Final = "Column of the caption; '' for none.  [default: caption, or the format's]"
_CLIPS: Final = "Column of a list of [start, end] pairs: each is a segment of its own."
_UNIT: Final = "What bare numbers in times count.  [default: s]"
_START: Final = "Column of the start, in seconds, M:SS or HH:MM:SS.mmm.  [default: start, where the table has it]"
_END: Final = "Column of the end.  [default: end, where the table has it]"
_WORKERS: Final = "Processes that cut videos.  [default: one for each core, of this machine or of the cluster]"
_EXECUTOR: Final = "Whose processes: this machine's, or those of a Ray cluster's nodes."
_ADDRESS: Final = "Ray cluster to work on.  [default: RAY_ADDRESS, or one that runs here, or a new one here]"
_MEMORY: Final = "Memory that a process may hold; a video that needs more fails."
_DRY: Final = "Write nothing: say what would become of every row, and how large the dataset would be."
_LOG: Final = "File that gets a JSON line for the plan, for progress every 10 s, for every shard, and for the end."
_WANDB: Final = "Project of Weights & Biases that gets counts and rates."
_ROW_TIMEOUT: Final = "Seconds that a video may be at work, with no clip of it done, before it is given up."
_FPS: Final = "Highest rate of encoded clips, in frames a second: of more, some are left out."
_FETCH_ATTEMPTS: Final = "Tries for a video on a web server that bring nothing new, before it is given up."
_FETCH_TIMEOUT: Final = "Seconds that a video on a web server may take to come."
_FETCH_AHEAD: Final = "Remote videos that a process fetches before it needs them."
_PER_HOST: Final = "Connections of this machine to one web server at a time."
_AUDIO: Final = "What becomes of the sound of encoded and copied clips; whole copied files keep theirs."
_SHOTS: Final = "Look for cuts: make each shot a clip, or note the cuts inside each clip."
_DETECTOR: Final = "How cuts are found, by PySceneDetect."
_THRESHOLD: Final = "How great a change is a cut.  [default: the detector's own]"
_SHOT_SECONDS: Final = "Length that no shot falls below: a cut nearer to another is none."
_SHOT_SIDE: Final = "Pixels of the longer side of the small pictures that are looked at."
_SHOT_SKIP: Final = "Frames to leave out after each one looked at; cuts are found up to so many late."
_FILTER: Final = "Keep only segments of which a condition is true, such as 'duration >= 2 and caption_words > 2'."
_STATIC: Final = "Leave out segments whose pictures stand still."
_STATIC_BELOW: Final = "Change between pictures, of 255, below which they stand still."
_BLACK: Final = "Leave out segments whose pictures are black."
_BLACK_BELOW: Final = "Brightness of the brightest place, of 255, below which pictures are black."
_CLEAN: Final = "Clean captions of any of ftfy,html,urls (a list); originals are kept as caption_original."
_LANGUAGE: Final = "Tell each caption's language, as column language."
_DEDUP: Final = "Leave out duplicates of earlier rows: the same (exact), or alike (near)."
_DEDUP_BY: Final = "What has to be alike of two segments."
_PICTURES: Final = "Share of two segments' pictures that have to be alike (near)."
_BITS: Final = "Bits, of 64, in which the hashes of two like pictures may differ (near)."
_OVERLAP: Final = "Share of their frames that two segments of one video have to have in common (near)."
_CAPTIONS: Final = "Share of words and pairs of words that two captions have to have in common (near)."
_SIDE: Final = "Pixels of the shorter side of encoded clips; never enlarged.  [default: 256]"


@dataclass(frozen=True, slots=True)
class TableOptions(OptionGroup):
    """What is read of the input."""

    heading: ClassVar[str] = "Input: which rows, and what their columns mean"
    example: ClassVar[str] = "vidloom shard corpus.csv out --format internvid --root /data/videos"

    format: Annotated[str | None, typer.Option(metavar="NAME", help=_FORMAT)] = None
    video_col: Annotated[str | None, typer.Option(help=_VIDEO)] = None
    video_template: Annotated[str | None, typer.Option(metavar="TEXT", help=_TEMPLATE)] = None
    caption_col: Annotated[str | None, typer.Option(help=_CAPTION)] = None
    captions_col: Annotated[str | None, typer.Option(help="Column of a list of captions.")] = None
    start_col: Annotated[str | None, typer.Option(help=_START)] = None
    end_col: Annotated[str | None, typer.Option(help=_END)] = None
    clips_col: Annotated[str | None, typer.Option(help=_CLIPS)] = None
    time_unit: Annotated[TimeUnit | None, typer.Option(help=_UNIT)] = None
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
    shots: Annotated[ShotMode | None, typer.Option(help=_SHOTS)] = None
    shot_detector: Annotated[DetectorName, typer.Option(help=_DETECTOR)] = "content"
    shot_threshold: Annotated[float | None, typer.Option(help=_THRESHOLD)] = None
    shot_min_seconds: Annotated[float, typer.Option(help=_SHOT_SECONDS)] = 0.6
    shot_side: Annotated[int, typer.Option(help=_SHOT_SIDE)] = 256
    shot_skip: Annotated[int, typer.Option(help=_SHOT_SKIP)] = 0


@dataclass(frozen=True, slots=True)
class KeepOptions(OptionGroup):
    """Which rows and clips become part of the dataset."""

    heading: ClassVar[str] = "Kept: which clips become part of the dataset"
    example: ClassVar[str] = (
        "vidloom shard corpus.csv out --filter 'short_side >= 240 and caption_words > 2' --dedup near"
    )

    min_seconds: Annotated[
        float | None, typer.Option(help="Leave out segments (with --shots clips: shots) that are shorter.")
    ] = None
    max_seconds: Annotated[
        float | None, typer.Option(help="Leave out segments (with --shots clips: shots) that are longer.")
    ] = None
    filter: Annotated[str | None, typer.Option(metavar="CONDITION", help=_FILTER)] = None
    drop_static: Annotated[bool, typer.Option("--drop-static", help=_STATIC)] = False
    static_below: Annotated[float, typer.Option(help=_STATIC_BELOW)] = 1.0
    drop_black: Annotated[bool, typer.Option("--drop-black", help=_BLACK)] = False
    black_below: Annotated[float, typer.Option(help=_BLACK_BELOW)] = 24.0
    clean_captions: Annotated[str | None, typer.Option(metavar="STEPS", help=_CLEAN)] = None
    language: Annotated[bool, typer.Option("--language", help=_LANGUAGE)] = False
    dedup: Annotated[DedupMode | None, typer.Option(help=_DEDUP)] = None
    dedup_by: Annotated[DedupBy, typer.Option(help=_DEDUP_BY)] = "video"
    dedup_pictures: Annotated[float, typer.Option(help=_PICTURES)] = 0.6
    dedup_bits: Annotated[int, typer.Option(help=_BITS)] = 10
    dedup_overlap: Annotated[float, typer.Option(help=_OVERLAP)] = 0.9
    dedup_captions: Annotated[float, typer.Option(help=_CAPTIONS)] = 0.8


@dataclass(frozen=True, slots=True)
class DatasetOptions(OptionGroup):
    """What is written, and what of a dataset that is there already."""

    heading: ClassVar[str] = "Dataset: what is written"
    example: ClassVar[str] = "vidloom shard corpus.csv s3://bucket/corpus --shard-size 512MiB"

    shard_size: Annotated[str, typer.Option(help="Size that shards should come near.")] = "256MiB"
    retry: Annotated[list[str] | None, typer.Option(metavar="REASON", help=_RETRY)] = None
    extend: Annotated[bool, typer.Option("--extend", help=_EXTEND)] = False
    index: Annotated[str | None, typer.Option(metavar="KINDS", help=_INDEX)] = None


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
    fetch_attempts: Annotated[int, typer.Option(help=_FETCH_ATTEMPTS)] = 4
    fetch_timeout: Annotated[float, typer.Option(help=_FETCH_TIMEOUT)] = 900.0
    fetch_ahead: Annotated[int, typer.Option(help=_FETCH_AHEAD)] = 4
    per_host: Annotated[int, typer.Option(help=_PER_HOST)] = 16


@dataclass(frozen=True, slots=True)
class WatchOptions(OptionGroup):
    """What there is to see of a run, and to look at before one."""

    heading: ClassVar[str] = "Watch: what there is to see"
    example: ClassVar[str] = "vidloom shard corpus.csv out --log run.jsonl --wandb corpora"

    dry_run: Annotated[bool, typer.Option("--dry-run", help=_DRY)] = False
    log: Annotated[str | None, typer.Option(metavar="FILE", help=_LOG)] = None
    wandb: Annotated[str | None, typer.Option(metavar="PROJECT", help=_WANDB)] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")] = False
