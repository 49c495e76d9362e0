"""The bench commands: what each takes, and where it is done."""

# ruff: noqa: PLC0415 - each command imports its part when it runs, so that --help stays quick

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.bench.routing import BenchGroup
from tools.console import command

app = typer.Typer(
    cls=BenchGroup,
    help="Measure a dataset's loader, size a run up, or run benchmarks of the checkout: vidloom bench NAME...|all.",
    no_args_is_help=True,
)

_SETTINGS = "Settings of the loader, as NAME=VALUE: batch_size, frames, size, workers, decoder, cache_dir and more."

Settings = Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE", help=_SETTINGS)]


@app.command(epilog="Example: vidloom bench loader s3://bucket/corpus batch_size=32 frames=16 workers=8 --step 0.35")
@command
def loader(
    dataset: Annotated[str, typer.Argument(help="Folder or s3:// URL of a dataset.")],
    settings: Settings = None,
    *,
    seconds: Annotated[float, typer.Option(help="How long to load.")] = 20.0,
    step: Annotated[float, typer.Option(help="Seconds that the consumer takes over a batch, as a model would.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")] = False,
) -> int:
    """Load clips as training does: how many a second, where the time goes, and what is waited for."""
    from tools.bench.loader import LoaderBench, run_loader_bench
    from tools.loader_settings import loader_config

    config = loader_config(dataset, settings or (), batch_size=16)
    return run_loader_bench(LoaderBench(config, seconds, step), as_json=as_json)


@app.command(epilog="Example: vidloom bench sizing --gpus 64 --clips-per-gpu-second 12 --clip-bytes 600KB")
@command
def sizing(
    *,
    gpus: Annotated[int, typer.Option(help="GPUs of the run.")],
    clips_per_gpu_second: Annotated[float, typer.Option(help="Clips that a GPU trains on in a second.")],
    clip_bytes: Annotated[str, typer.Option(help="Bytes of a stored clip, such as 600KB.")] = "600KB",
    frames: Annotated[int, typer.Option(help="Frames of a clip.")] = 16,
    stride: Annotated[int, typer.Option(help="Pictures of the video from one frame to the next.")] = 4,
    size: Annotated[int, typer.Option(help="Side of a frame in pixels.")] = 224,
    picture: Annotated[str, typer.Option(metavar="WxH", help="Size of the stored pictures.")] = "340x256",
    gop: Annotated[int, typer.Option(help="Pictures from one key frame to the next.")] = 16,
    original: Annotated[bool, typer.Option(help="Clips are stored as they came, not by --preset train.")] = False,
    gpus_per_node: Annotated[int, typer.Option(help="GPUs of a node.")] = 8,
    batch: Annotated[int, typer.Option(help="Clips of a GPU's batch.")] = 32,
    shard_size: Annotated[str, typer.Option(help="Size of a shard.")] = "256MiB",
    shards: Annotated[int, typer.Option(help="Shards of the dataset; 0: unknown, very many.")] = 0,
    lanes: Annotated[int, typer.Option(help="data.lanes; 0: the least multiple of the nodes from 8 on.")] = 0,
    window: Annotated[int, typer.Option(help="data.window.")] = 4,
    whole_batches: Annotated[bool, typer.Option(help="data.whole_batches.")] = False,
    decoders: Annotated[int, typer.Option(help="NVDEC engines of a GPU.")] = 7,
    decoder_megapixels: Annotated[float, typer.Option(help="Millions of pixels that one decodes a second.")] = 1451.5,
    measured: Annotated[Path | None, typer.Option(help="What vidloom bench loader --json printed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")] = False,
) -> int:
    """Say what each node needs for a run: cores, decoders, cache, bandwidth to the store and requests."""
    from tools.bench.sizing import Need
    from tools.bench.sizing_report import parse_pixels, run_sizing
    from tools.console import parse_size

    need = Need(
        gpus=gpus,
        clips=clips_per_gpu_second,
        clip_bytes=parse_size(clip_bytes),
        frames=frames,
        stride=stride,
        size=size,
        pixels=parse_pixels(picture),
        gop=gop,
        original=original,
        gpus_per_node=gpus_per_node,
        batch=batch,
        shard_bytes=parse_size(shard_size),
        shards=shards,
        lanes=lanes,
        window=window,
        whole_batches=whole_batches,
        decoders=decoders,
        decoder_pixels=decoder_megapixels * 1e6,
    )
    return run_sizing(need, measured, as_json=as_json)


@app.command(epilog="Example: vidloom bench all --quick, or vidloom bench decode loader --out results")
@command
def run(
    names: Annotated[list[str], typer.Argument(metavar="NAME|all", help="Which benchmarks of the checkout to run.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for the results  [default: build/bench]")] = None,
    quick: Annotated[bool, typer.Option(help="Tiny sizes, which only show that it runs.")] = False,
    peer_python: Annotated[str | None, typer.Option(help="Interpreter of an environment of other tools.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Checkout of OpenGVLab/InternVideo.")] = None,
) -> int:
    """Run benchmarks of the checkout, one after the other: JSON and one table, with the budgets that are to hold.

    The word run may be left out. The name loader means the benchmark unless a dataset follows.
    """
    from tools.bench.checkout import run_benchmarks

    options = [f"--out={out.absolute()}"] if out else []
    options += [f"--reference={reference.absolute()}"] if reference else []
    if peer_python:  # a name without a folder is looked for on the PATH
        place = Path(peer_python).absolute() if Path(peer_python).name != peer_python else peer_python
        options += [f"--peer-python={place}"]
    return run_benchmarks([*names, *options, *(["--quick"] if quick else [])])
