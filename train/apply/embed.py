"""``vidloom embed DATASET OUT.parquet``: features of clips, of windows along them, of frames, or of captions."""

# ruff: noqa: PLC0415 - torch takes seconds to load, and --help and wrong usage shall not wait for it

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from train.apply import options
from train.apply.console import DONE, FALLS_SHORT, command, log_to_terminal, tell

if TYPE_CHECKING:
    from pipelines.time_windows import TimeWindows

_OUT = "Parquet file to write: path or s3:// URL."
_OF = "video: each clip, or each window of it; text: each caption; frames: each time slot of the network."
_WINDOWS = "Seconds of a window: embed windows along each clip, which give temporal features."
_STRIDE = "Seconds from the start of a window to that of the next.  [default: --windows]"
_NPY = "Folder or s3:// URL for a [T, D] float32 .npy of each clip as well, as localisation tools take them."
_NPY_NAMES = "What .npy files are called: by the clip's key, or by its source's file name."


@command
def embed(
    dataset: options.Dataset,
    out: Annotated[str, typer.Argument(metavar="OUT.parquet", help=_OUT)],
    *,
    model: options.Model,
    of: Annotated[Literal["video", "text", "frames"], typer.Option(help=_OF)] = "video",
    windows: Annotated[float | None, typer.Option(metavar="SECONDS", help=_WINDOWS)] = None,
    stride: Annotated[float | None, typer.Option(metavar="SECONDS", help=_STRIDE)] = None,
    npy: Annotated[str | None, typer.Option(metavar="DIR", help=_NPY)] = None,
    npy_names: Annotated[Literal["key", "source"], typer.Option(help=_NPY_NAMES)] = "key",
    tokenizer: options.Tokenizer = None,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    cache_dir: options.CacheDir = None,
    trust: options.Trust = False,
    as_json: options.Json = False,
) -> int:
    """Write normalised features of a dataset to one Parquet file; a run that was cut off goes on where it was."""
    if not out.lower().endswith(".parquet"):
        raise ValueError(f"{out} does not end in .parquet, and a Parquet file is what is written: give {out}.parquet")
    spans = _windows(windows, stride)
    if npy is not None and of == "text":
        raise ValueError("--npy is of features in time, and captions have none: leave out --npy, or --of text")
    from train.apply.embed_job import NpyTarget, embed_dataset
    from train.apply.embed_pieces import EmbedSettings
    from train.apply.shard_clips import Computing
    from train.parallel import start_ranks
    from train.pretrained import load_model

    log_to_terminal()
    settings = EmbedSettings(of, spans, Computing(batch_size, workers, cache_dir, precision))
    target = None if npy is None else NpyTarget(npy, npy_names)
    with start_ranks(device) as ranks:
        network = load_model(model, device=ranks.device, tokenizer=tokenizer, trust=trust)
        report = embed_dataset(network, dataset, out, settings, ranks, npy=target)
        tell(report, as_json=as_json, out=None)
    return FALLS_SHORT if report.unusable else DONE


def _windows(seconds: float | None, stride: float | None) -> TimeWindows | None:
    """Return the windows that are asked for.

    Raises:
        ValueError: They are none that there can be.
    """
    if seconds is None:
        if stride is not None:
            raise ValueError(f"--stride {stride:g} is of windows: give their length too, --windows SECONDS")
        return None
    from pipelines.time_windows import TimeWindows

    return TimeWindows(seconds, seconds if stride is None else stride)
