"""The commands that make datasets of what is there already: index, merge, select."""

# ruff: noqa: PLC0415 - each command imports its part when it runs, so that --help and the others stay quick

from __future__ import annotations

from typing import Annotated, Final, Literal

import typer

from tools.console import command

_SOURCES: Final = "Tars, folders or URLs with tars, patterns of them; or a dataset of ours, with --index."
_OUT: Final = "Folder or URL of the dataset that adopts the tars.  [default: beside them]"
_KINDS: Final = "Readers to make indexes for: dali, energon, wids, open_clip, with commas between."
_MEDIA: Final = "Extension of the clip, where samples have several videos or pictures, such as 720p.mp4."
_FIELD: Final = (
    "Field of the samples' .json that holds the caption; may be repeated.  [default: caption, text and others]"
)
_KEYS: Final = "Keys of samples: the tars' own, or with the tar's name before them; auto: that where keys repeat."
_WORKERS: Final = "Processes that read tars; changes no byte.  [default: one for each core]"
_TIMEOUT: Final = "Seconds that a sample may be at work before it is given up."

_DATASETS: Final = "Two or more datasets, folders or URLs, and at last the folder or URL of the one to make."
_MERGED: Final = "Keys of samples: the datasets' own, or with the dataset's name before; auto: that where they repeat."
_COPY: Final = "Make a dataset that holds all its bytes, in place of one that refers to the tars where they are."
_WHERE: Final = "Condition on a clip's fields, such as 'duration >= 2 and caption contains \"dog\"'."

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]
KeyRule = Literal["auto", "plain", "tar"]
MergeKeys = Literal["auto", "plain", "dataset"]
Kinds = Annotated[str | None, typer.Option("--index", metavar="KINDS", help=_KINDS)]
Copies = Annotated[bool, typer.Option("--copy", help=_COPY)]


def add_dataset_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(epilog="Example: vidloom index s3://bucket/webdataset --out s3://bucket/adopted --index wids")(index)
    app.command(epilog="Example: vidloom merge s3://bucket/webvid s3://bucket/msrvtt s3://bucket/both")(merge)
    app.command(epilog="Example: vidloom select corpus 'duration >= 2 and short_side >= 240' corpus-large")(select)


@command
def index(
    sources: Annotated[list[str], typer.Argument(metavar="TARS...", help=_SOURCES)],
    *,
    out: Annotated[str | None, typer.Option(help=_OUT)] = None,
    kinds: Kinds = None,
    media: Annotated[str | None, typer.Option(metavar="EXT", help=_MEDIA)] = None,
    caption_field: Annotated[list[str] | None, typer.Option(metavar="NAME", help=_FIELD)] = None,
    keys: Annotated[KeyRule, typer.Option(help=_KEYS)] = "auto",
    workers: Annotated[int | None, typer.Option(help=_WORKERS)] = None,
    row_timeout: Annotated[float, typer.Option(help=_TIMEOUT)] = 1200.0,
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


@command
def merge(
    datasets: Annotated[list[str], typer.Argument(metavar="A B... OUT", help=_DATASETS)],
    *,
    keys: Annotated[MergeKeys, typer.Option(help=_MERGED)] = "auto",
    copies: Copies = False,
    kinds: Kinds = None,
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


@command
def select(
    dataset: Annotated[str, typer.Argument(help="Folder or URL of a dataset.")],
    where: Annotated[str, typer.Argument(metavar="EXPR", help=_WHERE)],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Folder or URL of the dataset to make.")],
    *,
    copies: Copies = False,
    kinds: Kinds = None,
    as_json: Json = False,
) -> int:
    """Make a dataset of those clips of another of which a condition is true, without rewriting its tars."""
    from shards.composition import Composition
    from shards.expression import parse
    from tools.compose import run_composition

    composition = Composition("select", (dataset,), out, where=parse(where), copies=copies)
    return run_composition(composition, index=kinds, as_json=as_json)
