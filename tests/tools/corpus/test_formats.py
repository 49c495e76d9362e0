"""Every corpus that is known by name: its rows become the videos, captions and seconds that they mean."""

from __future__ import annotations

import json
import sqlite3

import pytest

from shards.ledger import Reason
from tools.corpus.formats import FORMATS, known_format, similar_formats
from tools.corpus.ingest import Columns, read_rows, scan_table

ID = "AA_-AAAAAAA"


def read(path, name=None, **columns):
    columns = Columns(format=name, **columns)
    info = scan_table(path, columns)
    return info.extra, list(read_rows(path, columns, info.extra))


def write(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def asked(rows):
    assert [row.problem for row in rows] == [None] * len(rows)
    return [(row.row, row.part, row.video, row.caption, row.start, row.end) for row in rows]


def test_webvid(tmp_path):
    text = (
        "videoid,name,page_idx,page_dir,duration,contentUrl\n"
        f'900000017,"Brown horse, running",412,000401_000450,PT00H00M14S,https://example.invalid/{ID}\n'
        "8,A cat,1,,PT00H00M02S,https://example.invalid/8\n"
    )
    extra, rows = read(write(tmp_path / "t.csv", text), "webvid")
    assert asked(rows[:1]) == [(0, 0, "000401_000450/900000017.mp4", "Brown horse, running", None, None)]
    assert rows[0].extra["videoid"] == 900000017
    assert extra["input_duration"] == "string"
    assert rows[1].problem.reason is Reason.NO_VIDEO
    assert "column page_dir is empty" in rows[1].problem.message


MSRVTT = {
    "info": {"year": "2016", "version": "1.0"},
    "videos": [
        {
            "id": 0,
            "video_id": "video0",
            "category": 9,
            "url": "u",
            "start time": 12.5,
            "end time": 23.76,
            "split": "train",
        },
        {"id": 1, "video_id": "video1", "category": 3, "url": "v", "start time": 0, "end time": 9, "split": "train"},
        {"id": 2, "video_id": "video2", "category": 3, "url": "w", "start time": 0, "end time": 9, "split": "test"},
    ],
    "sentences": [
        {"sen_id": 0, "video_id": "video1", "caption": "a cat"},
        {"sen_id": 1, "video_id": "video0", "caption": "a man parks a red car"},
        {"sen_id": 2, "video_id": "video9", "caption": "a bird"},
        {"sen_id": 3, "video_id": "video0", "caption": "a man is parking a car"},
    ],
}


@pytest.mark.parametrize("sentences", ["sentences", "annotations"])
@pytest.mark.parametrize("order", [1, -1])
def test_msrvtt_joins_sentences_to_videos_and_cuts_nothing_again(tmp_path, sentences, order):
    told = {
        ("annotations" if key == "sentences" else key) if sentences == "annotations" else key: value
        for key, value in MSRVTT.items()
    }
    path = write(tmp_path / "t.json", dict(list(told.items())[::order]))
    extra, rows = read(path, "msrvtt")
    assert extra["start time"] == "double"
    assert asked([rows[0], rows[1], rows[3]]) == [
        (0, 0, "video0.mp4", "a man parks a red car", None, None),
        (1, 0, "video1.mp4", "a cat", None, None),
        (3, 0, "video9.mp4", "a bird", None, None),
    ]
    assert rows[0].captions == ("a man parks a red car", "a man is parking a car")
    assert rows[1].captions == ()
    assert rows[0].extra["start time"] == 12.5
    assert rows[2].problem.reason is Reason.NO_CAPTION


def test_msrvtt_test_list_and_regrouped_lists(tmp_path):
    assert asked(read(write(tmp_path / "t.csv", "key,video_id,sentence\nret0,video7,a dog\n"), "msrvtt")[1]) == [
        (0, 0, "video7.mp4", "a dog", None, None)
    ]
    entries = [{"video": "video9999.mp4", "caption": ["a dog runs", "the dog is running"]}]
    (row,) = read(write(tmp_path / "t.json", entries), "msrvtt")[1]
    assert (row.video, row.captions) == ("video9999.mp4", ("a dog runs", "the dog is running"))


def test_msvd_names_tell_their_segment_and_are_not_cut_again(tmp_path):
    entries = [{"video": f"{ID}_15_27.avi", "caption": ["a boy plays ."]}, {"video": "x.avi", "caption": ["b"]}]
    _, rows = read(write(tmp_path / "t.json", entries), "msvd")
    assert asked(rows)[0] == (0, 0, f"{ID}_15_27.avi", "a boy plays .", None, None)
    assert rows[0].extra == {"youtube_id": ID, "source_start": 15, "source_end": 27}
    assert rows[1].extra == dict.fromkeys(rows[0].extra)


def test_internvid(tmp_path):
    line = {"YoutubeID": ID, "Start_timestamp": "00:01:07.267", "End_timestamp": "00:01:12.367", "Caption": "a woman"}
    path = write(tmp_path / "t.jsonl", "".join(json.dumps(line | more) + "\n" for more in ({"UMT_Score": 0.41}, {})))
    extra, rows = read(path, "internvid")
    assert asked(rows)[0] == (0, 0, f"{ID}.mp4", "a woman", 67.267, 72.367)
    assert extra == {"UMT_Score": "double", "YoutubeID": "string"}
    assert asked(read(path, "internvid", template="sub/{YoutubeID}.webm")[1])[0][2] == f"sub/{ID}.webm"


def test_viclip_lists_and_sqlite(tmp_path):
    entries = [
        {"video": "00042/00042_000317.mp4", "caption": "a man"},
        {"video": ["a.mp4", "b.mp4"], "caption": ["one", "two"]},
    ]
    _, rows = read(write(tmp_path / "t.json", entries), "viclip")
    assert [(row.row, row.part, row.video) for row in rows] == [
        (0, 0, "00042/00042_000317.mp4"), (1, 0, "a.mp4"), (1, 1, "b.mp4"),
    ]  # fmt: skip
    assert rows[1].captions == rows[2].captions == ("one", "two")
    assert asked(read(write(tmp_path / "i.json", [{"image": "x.jpg", "caption": "y"}]), "viclip")[1])[0][2] == "x.jpg"
    with sqlite3.connect(tmp_path / "t.db") as database:
        database.execute("CREATE TABLE annos (k INTEGER, f TEXT, words TEXT)")
        database.executemany("INSERT INTO annos VALUES (?, ?, ?)", [(0, "a.mp4", "a man"), (1, "b.mp4", "é")])
    extra, rows = read(tmp_path / "t.db", "viclip")
    assert extra == {"id": "int64"}
    assert asked(rows) == [(0, 0, "a.mp4", "a man", None, None), (1, 0, "b.mp4", "é", None, None)]


def test_howto100m_in_three_shapes(tmp_path):
    told = {
        ID: {"start": [0.41, 2.2], "end": [3.91, 5.9], "text": ["cut the onions", "and put them in"]},
        "b": {"start": [1], "end": [2], "text": ["x"]},
    }
    segments = [(0, 0, f"{ID}.mp4", "cut the onions", 0.41, 3.91), (0, 1, f"{ID}.mp4", "and put them in", 2.2, 5.9)]
    assert asked(read(write(tmp_path / "t.json", told), "howto100m")[1]) == [*segments, (1, 0, "b.mp4", "x", 1.0, 2.0)]
    path = write(tmp_path / f"{ID}.csv", "start,end,text\n0.41,3.91,cut the onions\n2.2,5.9,and put them in\n")
    assert [row[2:] for row in asked(read(path, "howto100m")[1])] == [row[2:] for row in segments]
    path = write(tmp_path / "v.csv", f"video_id,category_1,category_2,rank,task_id\n{ID},Food & Drink,Meat,3,77\n")
    assert asked(read(path, "howto100m")[1]) == [(0, 0, f"{ID}.mp4", "", None, None)]


def test_youcook2(tmp_path):
    path = write(tmp_path / "t.csv", f"end,start,task,text,video_id\n60,47,226, pick the  leaves,{ID}\n")
    assert asked(read(path, "youcook2")[1]) == [(0, 0, f"{ID}.mp4", " pick the  leaves", 47.0, 60.0)]


def test_hdvila(tmp_path):
    clips = [
        {"clip_id": f"{ID}.1.mp4", "span": ["00:00:17.759", "00:00:23.279"]},
        {"clip_id": f"{ID}.4.mp4", "span": ["00:00:23.279", "00:00:31.000"]},
    ]
    extra, rows = read(write(tmp_path / "t.jsonl", {"video_id": ID, "url": "u", "clip": clips}), "hdvila")
    assert asked(rows) == [(0, 0, f"{ID}.mp4", "", 17.759, 23.279), (0, 1, f"{ID}.mp4", "", 23.279, 31.0)]
    assert [row.extra["clip_id"] for row in rows] == [f"{ID}.1.mp4", f"{ID}.4.mp4"]
    assert extra == dict.fromkeys(("clip_id", "url", "video_id"), "string")


PANDA = (
    "videoID,url,timestamp,caption,matching_score,desirable_filtering,shot_boundary_detection\n"
    f"{ID},u,\"[['0:00:00.000', '0:00:15.982'], ['0:00:15.982', '0:00:36.503']]\","
    '"[\'A man repairs a bicycle.\', ""The man\'s dog lies.""]","[0.4479, 0.4312]",'
    "\"['desirable', '3_screen_in_screen']\",\"[[['0:00:00.000', '0:00:15.982']], []]\"\n"
)


def test_panda70m_lists_come_apart_by_clip(tmp_path):
    extra, rows = read(write(tmp_path / "t.csv", PANDA), "panda70m")
    assert asked(rows) == [
        (0, 0, f"{ID}.mp4", "A man repairs a bicycle.", 0.0, 15.982),
        (0, 1, f"{ID}.mp4", "The man's dog lies.", 15.982, 36.503),
    ]
    assert extra["matching_score"] == "double"
    assert rows[1].extra["matching_score"] == 0.4312
    assert rows[1].extra["desirable_filtering"] == "3_screen_in_screen"
    assert rows[0].extra["shot_boundary_detection"] == '[["0:00:00.000", "0:00:15.982"]]'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[0.4479, 0.4312]", "[0.4479]", "column matching_score lists 1 values for 2 segments"),
        ("['A man repairs a bicycle.', ", "[", "column caption lists 1 values for 2 segments"),
        ("'0:00:36.503']]", "'0:00:36.503'", "column timestamp cannot be read as a list"),
        ("['0:00:15.982', '0:00:36.503']", "[__import__('os').abort(), 1]", "column timestamp cannot be read"),
        ("['0:00:15.982', '0:00:36.503']", "['0:00:15.982']", "which is no pair of times"),
        ("[['0:00:00.000', '0:00:15.982'], ['0:00:15.982', '0:00:36.503']]", "[]", "lists 0 segments"),
    ],
)
def test_a_panda70m_row_whose_lists_do_not_fit_is_bad_as_a_whole(tmp_path, old, new, said):
    assert old in PANDA
    _, rows = read(
        write(tmp_path / "t.csv", PANDA.replace(old, new, 1) + PANDA.splitlines(keepends=True)[1]), "panda70m"
    )
    assert rows[0].problem.reason in {Reason.BAD_ROW, Reason.BAD_SEGMENT}
    assert said in rows[0].problem.message
    assert [(row.row, row.part) for row in rows] == [(0, 0), (1, 0), (1, 1)]


def test_one_bad_segment_costs_itself_only(tmp_path):
    text = PANDA.replace("'0:00:36.503'", "'0:00:10.000'").replace("bicycle.'", "bicycle.'", 1)
    _, rows = read(write(tmp_path / "t.csv", text), "panda70m")
    assert [row.problem and row.problem.reason for row in rows] == [None, Reason.BAD_SEGMENT]


def test_kinetics(tmp_path):
    text = f'label,youtube_id,time_start,time_end,split,is_cc\n"washing dishes",-{ID},59,69,val,0\n'
    _, rows = read(write(tmp_path / "t.csv", text), "kinetics")
    assert asked(rows) == [(0, 0, f"-{ID}_000059_000069.mp4", "washing dishes", None, None)]
    assert rows[0].extra == {"is_cc": 0, "split": "val", "time_end": 69, "time_start": 59, "youtube_id": f"-{ID}"}
    uncut = {"template": "{youtube_id}.mp4", "start": "time_start", "end": "time_end"}
    assert asked(read(tmp_path / "t.csv", "kinetics", **uncut)[1])[0][2:] == (
        f"-{ID}.mp4",
        "washing dishes",
        59.0,
        69.0,
    )
    test_list = write(tmp_path / "test.csv", f"youtube_id,time_start,time_end,split\n{ID},0,10,test\n")
    assert asked(read(test_list, "kinetics")[1]) == [(0, 0, f"{ID}_000000_000010.mp4", "", None, None)]


@pytest.mark.parametrize("separator", [" ", ",", ", "])
def test_lists_of_paths_and_labels(tmp_path, separator):
    path = write(tmp_path / "train.csv", f"a b/x.mp4{separator}17\ny.mp4{separator}0\n\nno label\n")
    extra, rows = read(path, "labels")
    assert extra == {"label": "int64"}
    assert asked(rows[:2]) == [(0, 0, "a b/x.mp4", "", None, None), (1, 0, "y.mp4", "", None, None)]
    assert rows[0].extra == {"label": 17}
    assert rows[2].problem.message == "the line does not end with the number of a class"


def test_lines_of_blanks_do_not_hold_the_reader_up(tmp_path):
    path = write(tmp_path / "t.txt", "a" + " ," * 1_000_000 + "b\nc.mp4" + " " * 1_000_000 + "7\n")
    first, second = read(path, "labels")[1]
    assert first.problem.reason is Reason.BAD_ROW
    assert (second.video, second.extra) == ("c.mp4", {"label": 7})
    entries = [{"video": "_1" * 1_000_000 + "x", "caption": ["b"]}]
    assert read(write(tmp_path / "t.json", entries), "msvd")[1][0].problem is None


@pytest.mark.parametrize("header", ["", "page,from,to,words\n", "page,start,end,caption\n"])
def test_videocc_counts_microseconds_and_its_header_is_of_no_use(tmp_path, header):
    path = write(tmp_path / "t.csv", f"{header}{ID},15000000,25000001,a red bridge\n")
    assert asked(read(path, "videocc")[1]) == [(0, 0, f"{ID}.mp4", "a red bridge", 15.0, 25.000001)]


def test_acav(tmp_path):
    path = write(tmp_path / "t.tsv", f"videoID\tstart\tend\n{ID}\t3\t13\n")
    assert asked(read(path, "acav")[1]) == [(0, 0, f"{ID}.mp4", "", 3.0, 13.0)]


def test_activitynet(tmp_path):
    told = {"v_1": {"duration": 9.5, "timestamps": [[0, 4.5], [3, 9]], "sentences": ["a", " b"]}}
    _, rows = read(write(tmp_path / "t.json", told), "activitynet")
    assert asked(rows) == [(0, 0, "v_1.mp4", "a", 0.0, 4.5), (0, 1, "v_1.mp4", " b", 3.0, 9.0)]


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ("<__dj__video> a cartoon <|__dj__eoc|> <__dj__video> 卡通", ["a cartoon", "卡通"]),
        ("<__dj__video> <__dj__video> both <|__dj__eoc|>", ["both", "both"]),
        ("no token", ["no token", "no token"]),
    ],
)
def test_data_juicer_texts_belong_to_their_videos(tmp_path, text, captions):
    path = write(tmp_path / "t.jsonl", {"videos": ["a.mp4", "b.mp4"], "text": text, "n": 1})
    extra, rows = read(path, "data-juicer")
    assert extra == {"n": "int64"}
    assert [row[2:4] for row in asked(rows)] == list(zip(["a.mp4", "b.mp4"], captions, strict=True))


def test_data_juicer_tokens_must_fit(tmp_path):
    path = write(tmp_path / "t.jsonl", {"videos": ["a.mp4", "b.mp4"], "text": "<__dj__video> a"})
    (none,) = read(
        write(tmp_path / "none.jsonl", '{"videos": [], "images": [], "text": "words alone"}\n'), "data-juicer"
    )[1]
    assert (none.problem.reason, none.problem.message) == (Reason.NO_VIDEO, "column videos lists no video")
    assert "1 tokens for 2 videos" in read(path, "data-juicer")[1][0].problem.message


def test_conversations_keep_their_turns_and_caption_by_the_first_answer(tmp_path):
    turns = [{"from": "human", "value": "<video>\nWhat happens?"}, {"from": "gpt", "value": "A man washes a car."}]
    spoken = [{"role": "assistant", "content": [{"type": "text", "text": "An image."}]}]
    entries = [
        {"video": "name.mp4", "conversations": turns},
        {"video": "x.mp4", "messages": spoken},
        {"video": "y.mp4", "conversations": turns[:1]},
    ]
    _, rows = read(write(tmp_path / "t.json", entries), "chat")
    assert [row.caption for row in rows] == ["A man washes a car.", "An image.", ""]
    assert json.loads(rows[0].extra["conversations"]) == turns
    assert rows[2].problem.reason is Reason.NO_CAPTION


def test_video2dataset_inputs(tmp_path):
    path = write(
        tmp_path / "t.csv", 'url,caption,clips\nhttps://h/a.mp4,a dog,"[[0, 2.5], [""00:00:03.0"", ""00:00:04.5""]]"\n'
    )
    assert asked(read(path, "video2dataset")[1]) == [
        (0, 0, "https://h/a.mp4", "a dog", 0.0, 2.5), (0, 1, "https://h/a.mp4", "a dog", 3.0, 4.5),
    ]  # fmt: skip
    path = write(tmp_path / "y.csv", "videoID,videoURL,title\n7,https://h/b.mp4,b cat\n")
    assert asked(read(path, "video2dataset")[1]) == [(0, 0, "https://h/b.mp4", "b cat", None, None)]


def test_column_options_stand_over_the_format(tmp_path):
    path = write(tmp_path / "t.csv", "video_id,text,start,end,mine,from,list\nv,words,1,2,other,500,\"['a', 'b']\"\n")
    assert asked(read(path, "youcook2", video="mine", caption="list")[1])[0][2:4] == ("other", "['a', 'b']")
    assert asked(read(path, "youcook2", caption="", start="start", end="from", unit="ms")[1])[0][3:] == ("", 0.001, 0.5)
    (row,) = read(path, "youcook2", captions="list")[1]
    assert row.captions == ("a", "b")


def test_a_table_of_another_format_is_refused_with_what_is_needed(tmp_path):
    path = write(tmp_path / "t.csv", "YoutubeID,Start_timestamp,End_timestamp,Caption\na,1,2,b\n")
    with pytest.raises(
        ValueError, match=r"t\.csv: --format webvid needs the columns page_dir, videoid, name; it has 'YoutubeID'"
    ):
        read(path, "webvid")
    with pytest.raises(ValueError, match=r"no column 'video'; .* by --video-col, or take --format internvid$"):
        read(path)
    with pytest.raises(ValueError, match="--format webvod is not known; taken are webvid, msrvtt"):
        read(path, "webvod")
    with pytest.raises(ValueError, match=r"--video-template '\{a' *: write columns in braces"):
        read(path, template="{a")


def test_every_format_says_what_it_is():
    assert all(known.about and known_format(name) is known for name, known in FORMATS.items())
    assert similar_formats(["videoID", "url", "timestamp", "caption"]) == ["panda70m", "img2dataset", "video2dataset"]
