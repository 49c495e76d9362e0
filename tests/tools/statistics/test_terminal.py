"""What a terminal tells: what a dataset lacks, and numbers that are never cut."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from rich.console import Console

from benchmarks.sides.generated_table import make_table, make_words, write_tables
from tools.statistics.collect import StatsRequest, collect
from tools.statistics.terminal import tables


def test_clips_without_a_caption_are_told_apart_from_repeated_ones(tmp_path):
    table = make_table(np.random.default_rng(0), 3, 0, make_words(np.random.default_rng(0), 20))
    place = table.schema.get_field_index("caption")
    for captions, said in ((["", "  ", "a dog"], True), (["a cat", "two", "a dog"], False)):
        changed = table.set_column(place, table.schema.field("caption"), pa.array(captions))
        write_tables(tmp_path, [changed])
        console = Console(file=io.StringIO(), width=100)
        console.print(next(tables(collect(StatsRequest((str(tmp_path),))))))
        assert ("without caption" in console.file.getvalue()) == said


def test_no_number_is_cut_however_narrow_the_terminal(tmp_path):
    write_tables(tmp_path, [make_table(np.random.default_rng(0), 30, 0, make_words(np.random.default_rng(0), 20))])
    report = collect(StatsRequest((str(tmp_path),)))
    for width, mean in ((80, False), (120, True)):
        console = Console(width=width, record=True, file=io.StringIO())
        for table in tables(report, width=width):
            console.print(table)
        lines = console.export_text().splitlines()
        told = [line for line in lines if line.strip().startswith(("duration", "bytes", "bitrate"))]
        assert told
        assert not any("…" in line for line in told)
        assert any("mean" in line for line in lines) == mean


def told(report, width=200):
    console = Console(width=width, record=True, file=io.StringIO())
    for table in tables(report, width=width):
        console.print(table)
    return console.export_text()


def test_where_no_clip_is_left_it_is_said_and_no_empty_table_shown(tmp_path):
    write_tables(tmp_path, [make_table(np.random.default_rng(0), 3, 0, make_words(np.random.default_rng(0), 20))])
    for by in (None, "codec"):
        said = told(collect(StatsRequest((str(tmp_path),), where="duration > 1e6", by=by)))
        assert "none is left by the condition" in said
        assert "per clip" not in said
        assert "decodable" not in said
    assert "none is left" not in told(collect(StatsRequest((str(tmp_path),))))


def test_rare_values_are_told_as_the_others_are(tmp_path):
    table = make_table(np.random.default_rng(0), 30, 0, make_words(np.random.default_rng(0), 20))
    kinds = [*(name for name in "abcdefgh" for _ in range(3)), "i", "i", "j", "j", "k", "k"]
    write_tables(tmp_path, [table.append_column("kind", pa.array(kinds))])
    assert "h 3, 3 others 6" in told(collect(StatsRequest((str(tmp_path),))))


def test_an_outlying_rate_is_told_without_a_unit(tmp_path):
    table = make_table(np.random.default_rng(0), 30, 0, make_words(np.random.default_rng(0), 20))
    place = table.schema.get_field_index("fps")
    rates = pa.array([240.0, *([25.0] * 29)], table.schema.field("fps").type)
    write_tables(tmp_path, [table.set_column(place, table.schema.field("fps"), rates)])
    assert "fps 240; half of the clips have 25" in told(collect(StatsRequest((str(tmp_path),))))
