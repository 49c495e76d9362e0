"""A folder of videos: what stands beside each, and what is wrong with it."""

from __future__ import annotations

import pytest

from shards.ledger import Reason
from shards.store import Store
from tools.corpus.folder import _Beside, folder_entries
from tools.corpus.input_files import InputFiles, find_files


def entries(*specs, limit=None):
    return list(folder_entries(find_files([str(spec) for spec in specs]), limit))


def write(folder, **files):
    for name, data in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())


@pytest.mark.parametrize(
    ("beside", "captions", "own"),
    [
        ({}, (), {}),
        ({"a.txt": "a dog\n"}, ("a dog",), {}),
        ({"a.txt": "\ufeffa dog", "a.json": '{"caption": "other", "n": 1}'}, ("a dog",), {"caption": "other", "n": 1}),
        ({"a.json": '{"caption": "x", "title": "y", "n": NaN}'}, ("x",), {"title": "y", "n": None}),
        ({"a.json": '{"captions": ["x", " y "]}'}, ("x", "y"), {"captions": ["x", " y "]}),
        ({"a.json": '{"n": 1}', "ab.txt": "another video's", "b.txt": "x"}, (), {"n": 1}),
    ],
)
def test_side_files(tmp_path, beside, captions, own):
    for name, text in {"a.mp4": "", **beside}.items():
        (tmp_path / name).write_text(text)
    for spec in (tmp_path, tmp_path / "a.mp4", f"{tmp_path}/*.mp4"):
        (entry,) = entries(spec)
        assert (entry.video, entry.captions, entry.own, entry.fault) == ("a.mp4", captions, own, None)


VTT = (
    "WEBVTT - x\n\nNOTE no cue\n\nid\n00:01.000 --> 00:02.500 align:left\n<v Ann>one</v>\ntwo\n\n"
    "00:03.000 --> 00:04.000\n \n"
)
SRT = "1\r\n00:00:01,000 --> 00:00:02,500\r\none two\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.vtt", VTT), ("a.srt", SRT), ("a.de.vtt", "WEBVTT\n\n1.0 --> 2.5\none two")],
)
def test_cues_of_subtitles_are_segments(tmp_path, name, text):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / name).write_bytes(text.encode())
    (entry,) = entries(tmp_path)
    assert entry.captions == ["one two"]
    assert [tuple(float(time.replace(",", ".").rpartition(":")[2]) for time in pair) for pair in entry.segments] == [
        (1, 2.5)
    ]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"\xff", Reason.BAD_ENCODING),
        ("a.json", b"\xff", Reason.BAD_ENCODING),
        ("a.vtt", b"\xff", Reason.BAD_ENCODING),
        ("a.json", b"[1]", Reason.BAD_ROW),
        ("a.json", b"{", Reason.BAD_ROW),
        ("a.json", b"[" * 100_000, Reason.BAD_ROW),
        ("a.txt", b"x" * (1 + (16 << 20)), Reason.BAD_ROW),
    ],
    ids=range(7),
)
def test_a_side_file_that_cannot_be_read_costs_its_video_only(tmp_path, name, data, reason):
    for video in ("a.mp4", "b.mp4"):
        (tmp_path / video).write_bytes(b"")
    (tmp_path / name).write_bytes(data)
    first, second = entries(tmp_path)
    assert (first.video, first.fault.reason, second.fault) == ("a.mp4", reason, None)
    assert name in first.fault.message


def test_thumbnails_are_no_rows_and_pictures_are(tmp_path):
    write(tmp_path, a_dot_mp4=b"", a_dot_jpg=b"", b_dot_jpg=b"", c__a_dot_png=b"")
    assert [entry.video for entry in entries(tmp_path)] == ["a.mp4", "b.jpg", "c/a.png"]
    assert [entry.video for entry in entries(tmp_path, limit=2)] == ["a.mp4", "b.jpg"]


def test_each_folder_of_a_pattern_is_listed_once(tmp_path, monkeypatch):
    for folder in ("x", "y"):
        write(tmp_path / folder, **{f"{n}_dot_mp4": b"" for n in range(5)})
    write(tmp_path, y__3_dot_txt="told")
    files = find_files(f"{tmp_path}/*/*.mp4")
    listed = []
    real = Store.list
    monkeypatch.setattr(
        Store, "list", lambda store, prefix="", *, deep=True: listed.append(prefix) or real(store, prefix, deep=deep)
    )
    assert [entry.captions for entry in folder_entries(files, None)] == [()] * 8 + [("told",), ()]
    assert listed == ["x/", "y/"]


def test_subtitles_belong_to_the_video_of_the_longest_fitting_name(tmp_path):
    write(tmp_path, **dict.fromkeys(("a.mp4", "a.2.mp4", "b.mp4", "b.c/d.mp4"), b""), **{"a.2.en.vtt": VTT})
    assert [(entry.video, len(entry.segments)) for entry in entries(tmp_path)] == [
        ("a.2.mp4", 1), ("a.mp4", 0), ("b.c/d.mp4", 0), ("b.mp4", 0),
    ]  # fmt: skip


def test_names_that_begin_alike_are_not_gone_through_for_each_video(tmp_path):
    """Thousands of names such as ``clip.0001.mp4`` are no thousand times as many looks."""
    names = [f"clip.{number:05d}.{ending}" for number in range(2000) for ending in ("mp4", "vtt", "txt")]
    beside = _Beside(InputFiles("videos", Store(str(tmp_path)), tuple(names[::3]), frozenset(names)))
    assert sum(len(beside.names(name)) for name in names[::3]) == 2 * 2000
