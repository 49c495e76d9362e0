"""The vidloom command: what each command takes, and where it is done."""

# ruff: noqa: PLC0415 - each command imports its part when it runs, so that --help and the others stay quick

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tools import dataset_options as options
from tools.bench.commands import app as bench_app
from tools.console import command, run_app
from tools.option_groups import GroupedCommand, PlainGroup, with_groups
from tools.preview import options as preview_options
from tools.shard_options import ClipOptions, DatasetOptions, KeepOptions, RunOptions, TableOptions, WatchOptions
from tools.state_commands import app as state_app
from tools.statistics.options import ClipsOptions, CountOptions, Datasets, ReportOptions
from tools.verify_options import DecodeRunOptions, VerifyOptions

app = typer.Typer(
    name="vidloom",
    cls=PlainGroup,
    help="Shard video-text corpora, look into them, and train on them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]
Dataset = Annotated[str, typer.Argument(help="Folder or s3:// URL of a dataset.")]

_INPUT = "Tables, tars, or a folder of videos: paths, URLs or patterns such as 'part-*.csv'."
_OUT = "Folder or s3:// URL of the dataset; the same command goes on where it stopped."
_CHECKPOINT = "Weights: safetensors, .pth, .pt, .bin, .ckpt, .pyth or a TorchScript archive; path or s3:// URL."
_CONVERTED = "File to write: .safetensors, or with --to also .pth, .pt, .bin, .ckpt or .pyth."
_TO = "Published layout to write: videomae, videomae-hf, uniformerv2, internvideo-mm and more.  [default: our own]"
_KIND = "Network to make where IN makes several, such as videomae_classifier.  [default: what IN is]"
_SET = "Field of the network that no weight tells, such as frames, image_size or heads; may be repeated."
_FULL = "All four stages in place of the stop: search, captions and classes of clips that were not trained on."
_TRUST = "Run code that IN holds, as old pickles and TorchScript need: only for files whose source you trust."

Input = Annotated[list[str], typer.Argument(metavar="INPUT", help=_INPUT)]
Out = Annotated[str, typer.Argument(metavar="OUT", help=_OUT)]
TokenizerOut = Annotated[str, typer.Option("--out", help="Path or s3:// URL of the file.")]
Vocabulary = Annotated[int, typer.Option(help="Most ids; few captions give fewer.")]
Context = Annotated[int, typer.Option(help="Positions of a text, start and end token counted in.")]
Captions = Annotated[int, typer.Option(help="Most captions to read; of more, those of shards spread evenly are taken.")]


@app.command(
    cls=GroupedCommand,
    epilog="Example: vidloom shard corpus.csv s3://bucket/corpus --root /data/videos --preset train",
)
@command
@with_groups
def shard(
    source: Input,
    out: Out,
    *,
    table: TableOptions,
    clips: ClipOptions,
    keep: KeepOptions,
    dataset: DatasetOptions,
    run: RunOptions,
    watch: WatchOptions,
) -> int:
    """Turn a table of videos and captions into shards."""
    from tools.shard import run_shard
    from tools.shard_command import ShardOptions, shard_request
    from tools.shard_plan import run_dry
    from tools.shard_watchers import Watchers

    request = shard_request(source, out, ShardOptions(table, clips, keep, dataset, run))
    watchers = Watchers(watch.log, watch.wandb)
    if watch.dry_run:
        return run_dry(request, as_json=watch.as_json, watchers=watchers)
    return run_shard(request, as_json=watch.as_json, watchers=watchers, index=dataset.index or "")


@app.command(cls=GroupedCommand, epilog="Example: vidloom stats s3://bucket/corpus --html report.html")
@command
@with_groups
def stats(datasets: Datasets, *, clips: ClipsOptions, counts: CountOptions, report: ReportOptions) -> int:
    """Tell what datasets hold: totals, fates, distributions, words, duplicates, outliers, costs, drift."""
    from tools.statistics.asked import stats_request
    from tools.statistics.command import run_stats

    page = None
    if report.html is not None:
        from tools.statistics.page import page_writer

        page = page_writer(report.html, samples=report.samples, seed=report.seed)
    request = stats_request(datasets, clips, counts)
    return run_stats(request, as_json=report.as_json, tokenizer=counts.tokenizer, page=page)


@app.command(cls=GroupedCommand, epilog="Example: vidloom verify s3://bucket/corpus --decode --sample 1000")
@command
@with_groups
def verify(dataset: Dataset, *, what: VerifyOptions, run: DecodeRunOptions) -> int:
    """Read every byte of a dataset, say which file is wrong in what, and put back what can be made again."""
    from tools.verify import run_verify, verify_request

    return run_verify(verify_request(dataset, what, run), as_json=run.as_json)


@app.command(epilog="Example: vidloom preview s3://bucket/corpus --where 'duration > 10' --n 60 --out long.html")
@command
def preview(
    dataset: Dataset,
    settings: preview_options.Settings = None,
    *,
    where: preview_options.Where = None,
    n: preview_options.Clips = 24,
    seed: preview_options.Seed = 0,
    out: preview_options.SheetOut = "preview.html",
    as_loaded: preview_options.AsLoaded = False,
    skip: preview_options.Skip = 0,
    frames: preview_options.Frames = None,
    font: preview_options.Fonts = None,
    as_json: Json = False,
) -> int:
    """Draw clips with their captions on one sheet, as they are stored or as the loader gives them."""
    from tools.preview.run import PreviewRequest, run_preview

    if (settings or skip) and not as_loaded:
        given = settings[0] if settings else f"--skip {skip}"
        raise ValueError(f"{given} is a setting of the loader, for --as-loaded, which was not given")
    if frames is not None and as_loaded:
        raise ValueError(f"--frames {frames} is of clips as they are stored; with --as-loaded give frames={frames}")
    loaded = tuple(settings or ()) if as_loaded else None
    request = PreviewRequest(dataset, out, n, seed, where, frames or 6, tuple(font or ()), loaded, skip)
    return run_preview(request, as_json=as_json)


@app.command(epilog="Example: vidloom index s3://bucket/webdataset --out s3://bucket/adopted --index wids")
@command
def index(
    sources: options.Tars,
    *,
    out: options.Beside = None,
    kinds: options.Kinds = None,
    media: options.Media = None,
    caption_field: options.CaptionField = None,
    keys: options.Keys = "auto",
    workers: options.TarWorkers = None,
    row_timeout: options.SampleTimeout = 1200.0,
    as_json: Json = False,
) -> int:
    """Adopt tars of other tools as a dataset, or make a dataset's indexes for other readers."""
    from shards.foreign import CAPTION_FIELDS
    from tools.corpus.adoption_plan import AdoptRequest
    from tools.corpus.executor import ExecutorChoice
    from tools.index import IndexRequest, run_index

    choice = ExecutorChoice(workers=workers, row_seconds=row_timeout)
    captions = tuple(caption_field or CAPTION_FIELDS)
    adopt = AdoptRequest(tuple(sources), out, media, captions, keys, choice)
    return run_index(IndexRequest.of(adopt, kinds), as_json=as_json)


@app.command(epilog="Example: vidloom merge s3://bucket/webvid s3://bucket/msrvtt s3://bucket/both")
@command
def merge(
    datasets: options.Datasets,
    *,
    keys: options.MergedKeys = "auto",
    copies: options.Copies = False,
    kinds: options.Kinds = None,
    as_json: Json = False,
) -> int:
    """Make one dataset of several, without rewriting their tars."""
    from shards.composition import Composition
    from tools.compose import run_composition

    *sources, out = datasets
    if not sources:
        raise ValueError("merge takes the datasets and then the place of the new one: vidloom merge A B OUT")
    composition = Composition("merge", tuple(sources), out, keys=keys, copies=copies)
    return run_composition(composition, index=kinds, as_json=as_json)


@app.command(epilog="Example: vidloom select corpus 'duration >= 2 and short_side >= 240' corpus-large")
@command
def select(
    dataset: Dataset,
    where: options.Where,
    out: options.Made,
    *,
    copies: options.Copies = False,
    kinds: options.Kinds = None,
    as_json: Json = False,
) -> int:
    """Make a dataset of those clips of another of which a condition is true, without rewriting its tars."""
    from shards.composition import Composition
    from shards.expression import parse
    from tools.compose import run_composition

    composition = Composition("select", (dataset,), out, where=parse(where), copies=copies)
    return run_composition(composition, index=kinds, as_json=as_json)


@app.command(epilog="Example: vidloom tokenizer s3://bucket/corpus --out tokenizer.json --vocabulary 32768")
@command
def tokenizer(
    dataset: Dataset,
    *,
    out: TokenizerOut = "tokenizer.json",
    vocabulary: Vocabulary = 49408,
    context: Context = 77,
    captions: Captions = 1_000_000,
    as_json: Json = False,
) -> int:
    """Train a vocabulary on a dataset's captions and write it to a file."""
    from tools.tokenizer import TokenizerRequest, run_tokenizer

    return run_tokenizer(TokenizerRequest(dataset, out, vocabulary, context, captions), as_json=as_json)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: vidloom train stage=mvm data.train=s3://bucket/corpus model=vit_b out=runs/one",
)
def train(
    overrides: Annotated[list[str] | None, typer.Argument(metavar="OVERRIDES", help="Settings, as NAME=VALUE.")] = None,
) -> None:
    """Train a model; the same as python -m train OVERRIDES."""
    os.execv(sys.executable, [sys.executable, "-m", "train", *(overrides or [])])  # noqa: S606 - our own interpreter


_AS_TOLD: Final[Mapping[str, Any]] = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}
"""Lets a command take whatever comes, ``--help`` included, and hand it on."""


def _passed_on(name: str, about: str) -> None:
    """Make a command of what ``python -m train.apply`` does, with its options and its help."""

    @app.command(name, help=f"{about} The same as python -m train.apply {name}.", context_settings=dict(_AS_TOLD))
    def door(context: typer.Context) -> None:
        os.execv(sys.executable, [sys.executable, "-m", "train.apply", name, *context.args])  # noqa: S606 - as above


_passed_on("eval", "Measure what a model learnt: retrieval, zero-shot classes, captions, probes and more.")
_passed_on("embed", "Write features of clips, of windows along them, of frames or of captions to a Parquet file.")
_passed_on("search", "Find clips, or moments in them, by a text, and draw them on a sheet.")
_passed_on("caption", "Write a caption for each clip of a dataset.")
_passed_on("export", "Write a run's network as a folder of its own, ready to be loaded or passed on.")


@app.command(epilog="Example: vidloom convert pytorch_model.bin vit_b.safetensors --set frames=16")
@command
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help=_CHECKPOINT)],
    out: Annotated[str, typer.Argument(metavar="OUT", help=_CONVERTED)],
    *,
    layout: Annotated[str | None, typer.Option(help="Layout of IN.  [default: found by its keys]")] = None,
    to: Annotated[str | None, typer.Option(metavar="LAYOUT[:WRAPPER]", help=_TO)] = None,
    kind: Annotated[str | None, typer.Option(help=_KIND)] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=_SET)] = None,
    trust: Annotated[bool, typer.Option("--trust", help=_TRUST)] = False,
    as_json: Json = False,
) -> int:
    """Turn weights of any published layout into ours, or back, naming every key that is not used."""
    from tools.convert import ConvertRequest, run_convert

    request = ConvertRequest(source, out, layout, to, kind, tuple(settings or ()), trust)
    return run_convert(request, as_json=as_json)


@app.command(epilog="Example: vidloom demo --full --out demo")
@command
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo writes.")] = Path("demo"),
    *,
    full: Annotated[bool, typer.Option("--full", help=_FULL)] = False,
    seed: Annotated[int, typer.Option(min=0, help="What corpus and training are drawn from.")] = 0,
) -> int:
    """Go the whole way on a generated corpus: shard, look, train, stop, resume, draw."""
    if full:
        from tools.demo_full import run_full_demo

        return run_full_demo(out, seed=seed)
    from tools.demo import run_demo

    return run_demo(out, seed=seed)


app.add_typer(bench_app, name="bench")
app.add_typer(state_app, name="state")


def main() -> None:
    """Run the command line."""
    run_app(app)


if __name__ == "__main__":
    main()
