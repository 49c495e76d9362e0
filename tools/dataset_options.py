"""What the commands take that make datasets of what is there already: index, merge, select."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import typer

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

KeyRule = Literal["auto", "plain", "tar"]
MergeKeys = Literal["auto", "plain", "dataset"]

Tars = Annotated[list[str], typer.Argument(metavar="TARS...", help=_SOURCES)]
Datasets = Annotated[list[str], typer.Argument(metavar="A B... OUT", help=_DATASETS)]
Where = Annotated[str, typer.Argument(metavar="EXPR", help=_WHERE)]
Made = Annotated[str, typer.Argument(metavar="OUT", help="Folder or URL of the dataset to make.")]
Beside = Annotated[str | None, typer.Option(help=_OUT)]
Kinds = Annotated[str | None, typer.Option("--index", metavar="KINDS", help=_KINDS)]
Media = Annotated[str | None, typer.Option(metavar="EXT", help=_MEDIA)]
CaptionField = Annotated[list[str] | None, typer.Option(metavar="NAME", help=_FIELD)]
Keys = Annotated[KeyRule, typer.Option(help=_KEYS)]
MergedKeys = Annotated[MergeKeys, typer.Option("--keys", help=_MERGED)]
Copies = Annotated[bool, typer.Option("--copy", help=_COPY)]
TarWorkers = Annotated[int | None, typer.Option(help=_WORKERS)]
SampleTimeout = Annotated[float, typer.Option(help=_TIMEOUT)]
