"""Every option of the stats command, in groups: one line each, and an example a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import typer

from tools.option_groups import OptionGroup
from tools.shard_options import ExecutorName

_DATASETS: Final = "Folders or s3:// URLs of datasets; several are told of together."
_WHERE: Final = "Condition that the clips meet, such as 'duration >= 2 and caption contains \"dog\"'."
_BY: Final = "Column, or expression such as 'short_side >= 480', whose values clips are put into groups by."
_GROUPS: Final = "Groups that are told one by one; the clips of all smaller ones are told together."
_COMPARE: Final = "Set two datasets side by side, and measure how far each column has drifted."
_TOP: Final = "Values of a column, and words, that are told."
_OUTLIERS: Final = "Outliers that are named, of each side of a column."
_TOKENIZER: Final = "File of a vocabulary by which captions' tokens are counted."
_CAPTIONS: Final = "Captions that are read for words and tokens; of more, those of clips drawn evenly are."
_EXACT: Final = "Read all captions for words, and compare all: memory then grows with the dataset."
_NEAR: Final = "Clips, drawn evenly, of which pictures are decoded and compared: tells how many have a near copy."
_EXECUTOR: Final = "Who decodes clips for --near: this machine (local), or the nodes of a Ray cluster (ray)."
_ADDRESS: Final = "The cluster's address.  [default: RAY_ADDRESS, else one that runs here]"
_PACE: Final = "Clips a second that training reads: tells how long an epoch takes and what it reads."
_PRICE: Final = "What reading a gigabyte (10**9 bytes) costs, in dollars; with --clips-per-second."
_HTML: Final = "Path or s3:// URL of a page to write: one file that needs no network."
_SAMPLES: Final = "Clips that the page shows."
_SEED: Final = "What the choice of those clips is drawn from."

Datasets = Annotated[list[str], typer.Argument(metavar="DATASET...", help=_DATASETS)]


@dataclass(frozen=True, slots=True)
class ClipsOptions(OptionGroup):
    """Which clips are told of, and in what groups."""

    heading: ClassVar[str] = "Clips: which are told of, and in what groups"
    example: ClassVar[str] = "vidloom stats corpus --where 'duration >= 2' --by codec"

    where: Annotated[str | None, typer.Option(metavar="EXPR", help=_WHERE)] = None
    by: Annotated[str | None, typer.Option(metavar="COLUMN", help=_BY)] = None
    groups: Annotated[int, typer.Option(help=_GROUPS)] = 12
    compare: Annotated[bool, typer.Option("--compare", help=_COMPARE)] = False


@dataclass(frozen=True, slots=True)
class CountOptions(OptionGroup):
    """What is counted, and how much of it is told."""

    heading: ClassVar[str] = "Counts: what is told, and how exactly"
    example: ClassVar[str] = (
        "vidloom stats corpus --tokenizer tokenizer.json --clips-per-second 2000 --egress-price 0.09"
    )

    top: Annotated[int, typer.Option(min=1, help=_TOP)] = 20
    outliers: Annotated[int, typer.Option(min=0, max=20, help=_OUTLIERS)] = 5
    tokenizer: Annotated[str | None, typer.Option(metavar="FILE", help=_TOKENIZER)] = None
    captions: Annotated[int, typer.Option(min=1, help=_CAPTIONS)] = 100_000
    exact: Annotated[bool, typer.Option("--exact", help=_EXACT)] = False
    near: Annotated[int, typer.Option(metavar="N", min=0, help=_NEAR)] = 0
    executor: Annotated[ExecutorName, typer.Option(help=_EXECUTOR)] = "local"
    ray_address: Annotated[str | None, typer.Option(metavar="ADDRESS", help=_ADDRESS)] = None
    clips_per_second: Annotated[float | None, typer.Option(metavar="N", help=_PACE)] = None
    egress_price: Annotated[float | None, typer.Option(metavar="DOLLARS", help=_PRICE)] = None


@dataclass(frozen=True, slots=True)
class ReportOptions(OptionGroup):
    """Where it is told."""

    heading: ClassVar[str] = "Report: where it is told"
    example: ClassVar[str] = "vidloom stats s3://bucket/corpus --html report.html --samples 48"

    html: Annotated[str | None, typer.Option(metavar="FILE", help=_HTML)] = None
    samples: Annotated[int, typer.Option(min=0, max=1000, help=_SAMPLES)] = 24
    seed: Annotated[int, typer.Option(min=0, help=_SEED)] = 0
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")] = False
