"""The corpora whose tables are known by name: what their columns are called and what their cells mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tools.corpus import shapes
from tools.corpus.layouts import TABLE, Columns, Layout, template_fields
from tools.corpus.tables import Table, shown_names
from tools.corpus.times import UNITS

Choice = tuple[str | None, ...]
"""Names of a column, of which the first that the table has is taken; None: none is needed."""

_NONE: Final[Choice] = (None,)


@dataclass(frozen=True, slots=True)
class Draft:
    """A layout with a choice of names for its columns; ``makes`` are the columns that its shape adds."""

    video: Choice = _NONE
    template: str | None = None
    caption: Choice = _NONE
    start: Choice = _NONE
    end: Choice = _NONE
    clips: Choice = _NONE
    makes: tuple[str, ...] = ()
    rest: Mapping[str, Any] | None = None

    def settle(self, names: Collection[str]) -> Layout | None:
        """Return the layout for a table with these columns, None where one that is needed is absent."""
        there = {*names, *self.makes, TABLE, None}
        found = {}
        for place in ("video", "caption", "start", "end", "clips"):
            choice: Choice = getattr(self, place)
            fitting = [name for name in choice if name in there]
            if not fitting:
                return None
            found[place] = fitting[0]
        if any(name not in there for name in template_fields(self.template)):
            return None
        video = found.pop("video") or "video"
        chosen: dict[str, Any] = {**found, **(self.rest or {})}
        return Layout(video=video, template=self.template, **chosen)

    @property
    def needs(self) -> list[str]:
        """The names of the columns that must be there, the first of each choice."""
        choices = (self.video, self.caption, self.start, self.end, self.clips)
        first = [choice[0] for choice in choices if choice[0] is not None and None not in choice]
        fields = [name for name in template_fields(self.template) if name != TABLE]
        return [name for name in dict.fromkeys([*fields, *first]) if name not in self.makes]


@dataclass(frozen=True, slots=True)
class Format:
    """A corpus: one sentence about its table, the layouts that it comes in, and how its file is read.

    ``names`` are the columns of tables without a header line of use; ``lines`` says that the file is a list, a video a
    line.
    """

    about: str
    drafts: tuple[Draft, ...]
    names: tuple[str, ...] = ()
    lines: bool = False


_ID: Final = "{video_id}.mp4"
_TIMES: Final[dict[str, Any]] = {"start": ("start",), "end": ("end",)}
_ADDRESS: Final[Choice] = ("url", "videoURL", "video_url", "contentUrl", "videoLoc", "URL", "video", "image_url")
_TEXT: Final[Choice] = ("caption", "title", "text", "TEXT", "name", None)
_PANDA: Final = ("caption", "matching_score", "desirable_filtering", "shot_boundary_detection")

FORMATS: Final[Mapping[str, Format]] = {
    "webvid": Format(
        "WebVid: a clip a row, the video <page_dir>/<videoid>.mp4, the caption in name",
        (Draft(template="{page_dir}/{videoid}.mp4", caption=("name", "caption")),),
    ),
    "msrvtt": Format(
        "MSR-VTT: videos and sentences of one JSON object joined, some 20 captions a video <video_id>.mp4, cut already",
        (Draft(template=_ID, caption=("caption", "sentence")), Draft(video=("video",), caption=("caption",))),
    ),
    "msvd": Format(
        "MSVD, regrouped: a video and a list of captions an entry, cut already",
        (Draft(video=("video",), caption=("caption",), rest={"shape": shapes.name_tells_segment}),),
    ),
    "internvid": Format(
        "InternVid: a clip a line, cut out of <YoutubeID>.mp4",
        (
            Draft(
                template="{YoutubeID}.mp4",
                caption=("Caption", "caption"),
                start=("Start_timestamp",),
                end=("End_timestamp",),
            ),
        ),
    ),
    "viclip": Format(
        "ViCLIP, UMT and InternVideo2: a list, or the SQLite table annos, of files with one or several captions",
        (Draft(video=("video", "image"), caption=("caption",)),),
    ),
    "howto100m": Format(
        "HowTo100M: narrated lines of <video_id>.mp4, from caption.json or one <video_id>.csv a video; or its videos",
        (
            Draft(template=_ID, caption=("text",), **_TIMES),
            Draft(template=f"{{{TABLE}}}.mp4", caption=("text",), **_TIMES),
            Draft(template=_ID, video=("category_1",)),
        ),
    ),
    "youcook2": Format(
        "YouCook2: a segment a row, cut out of <video_id>.mp4",
        (Draft(template=_ID, caption=("text",), **_TIMES),),
    ),
    "hdvila": Format(
        "HD-VILA-100M: a video a line with the list of its clips, cut out of <video_id>.mp4; no captions",
        (Draft(template=_ID, caption=("caption", None), clips=("clip",)),),
    ),
    "panda70m": Format(
        "Panda-70M: a video a row with lists of its clips and captions, cut out of <videoID>.mp4",
        (Draft(template="{videoID}.mp4", caption=("caption",), clips=("timestamp",), rest={"along": _PANDA}),),
    ),
    "kinetics": Format(
        "Kinetics: clips <youtube_id>_<start>_<end>.mp4, cut already; the caption is the label",
        (Draft(template="{youtube_id}_{time_start:06}_{time_end:06}.mp4", caption=("label", None)),),
    ),
    "labels": Format(
        "lists for training code, without a header: a path and the number of its class a line; no captions",
        (Draft(video=("video",), makes=("label",), rest={"shape": shapes.label_behind_path}),),
        lines=True,
    ),
    "videocc": Format(
        "VideoCC: id, start and end in microseconds, caption; cut out of <video_url>.mp4",
        (Draft(template="{video_url}.mp4", caption=("caption",), rest={"unit": "us"}, **_TIMES),),
        names=("video_url", "start", "end", "caption"),
    ),
    "acav": Format(
        "ACAV100M: a segment a row, cut out of <videoID>.mp4; no captions",
        (Draft(template="{videoID}.mp4", **_TIMES),),
    ),
    "activitynet": Format(
        "ActivityNet Captions: an object of videos with lists of times and sentences, cut out of <video_id>.mp4",
        (Draft(template=_ID, caption=("sentences",), clips=("timestamps",), rest={"along": ("sentences",)}),),
    ),
    "data-juicer": Format(
        "data-juicer: lists of videos whose places in the text are marked by tokens",
        (
            Draft(video=("videos",), caption=("text",), rest={"shape": shapes.tokens_in_text}),
            Draft(video=("images",), caption=("text",), rest={"shape": shapes.tokens_in_text}),
        ),
    ),
    "chat": Format(
        "conversations about a video or an image; the caption is the first answer, the turns are kept",
        (
            Draft(
                video=("video", "videos", "image", "images"),
                caption=(shapes.CAPTION,),
                makes=(shapes.CAPTION,),
                rest={"shape": shapes.conversation},
            ),
        ),
    ),
    "webdataset": Format("tars of samples; they are told by their names, so this need not be said", ()),
    "img2dataset": Format("inputs of img2dataset: addresses and captions", (Draft(video=_ADDRESS, caption=_TEXT),)),
    "video2dataset": Format(
        "inputs of video2dataset: addresses, captions and perhaps lists of clips",
        (
            Draft(
                video=_ADDRESS, caption=_TEXT, clips=("clips", "clip", None), start=("start", None), end=("end", None)
            ),
        ),
    ),
}
"""The corpora, by the name that ``--format`` takes."""

UNTABLED: Final = frozenset({"webdataset", "video2dataset", "img2dataset"})
"""Formats that are not of tables alone: also of tars, which need no telling."""


def known_format(name: str | None) -> Format:
    """Return a format by its name, one without any layout for None.

    Raises:
        ValueError: there is no such format.
    """
    if name is None:
        return Format("", ())
    if name not in FORMATS:
        raise ValueError(f"--format {name} is not known; taken are {', '.join(FORMATS)}")
    return FORMATS[name]


def choose_layout(columns: Columns, names: Collection[str], table: Table, shown: str) -> Layout:
    """Return where a table's rows have what, by its format and what the caller says of its columns.

    Args:
        columns: what the caller says.
        names: the table's columns, as far as they are known.
        table: whether it can hold captions, and times in its videos.
        shown: what messages call it.

    Raises:
        ValueError: the format is not known, or needs columns that the table has not.
    """
    if columns.format is None or table.listed:
        start, end = ("start", "end") if table.timed else (None, None)
        layout = Layout(caption="caption" if table.captioned else None, start=start, end=end)
    else:
        known = known_format(columns.format)
        layout = _first_fitting(known.drafts, names, f"input {shown}: --format {columns.format}")
    return _as_asked(layout, columns)


def similar_formats(names: Collection[str]) -> list[str]:
    """Return the formats whose tables have such columns."""
    fits = {
        name: [each for each in known.drafts if not each.makes and each.settle(names)]
        for name, known in FORMATS.items()
    }
    return [name for name, drafts in fits.items() if drafts]


def _first_fitting(drafts: Iterable[Draft], names: Collection[str], what: str) -> Layout:
    fitting = [layout for layout in (draft.settle(names) for draft in drafts) if layout is not None]
    if not fitting:
        needs = " or ".join(", ".join(draft.needs) for draft in drafts) or "of no table"
        raise ValueError(f"{what} needs the columns {needs}; it has {shown_names(names)}")
    return fitting[0]


def _as_asked(layout: Layout, columns: Columns) -> Layout:
    """Put what the caller says over a layout."""
    if columns.unit is not None and columns.unit not in UNITS:
        raise ValueError(f"--time-unit {columns.unit} is not known; taken are {', '.join(UNITS)}")
    template_fields(columns.template)
    changes: dict[str, Any] = {}
    if columns.video is not None:
        changes |= {"video": columns.video, "template": None}
    if columns.template is not None:
        changes["template"] = columns.template
    if columns.caption is not None:
        changes["caption"] = columns.caption or None
    if columns.captions is not None:
        changes |= {"caption": columns.captions, "several": True}
    if columns.start is not None or columns.end is not None:
        changes["clips"] = None
    changes |= {
        name: value for name in ("start", "end", "clips", "unit") if (value := getattr(columns, name)) is not None
    }
    return replace(layout, **changes)
