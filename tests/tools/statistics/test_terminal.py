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
