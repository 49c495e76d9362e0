"""The plan of packets: nearest clean starts, joined runs, primers, and order where containers do not tell."""

from __future__ import annotations

import io
from dataclasses import replace

import av
import numpy as np
import pytest

from pipelines.nal import NalFormat
from pipelines.packets import PacketTable, read_packets
from tests.support.numbered_videos import RATE, Coding, encode_numbered

CLOSED = Coding(options={"g": "12", "bf": "3", "x264-params": "scenecut=0"})
OPEN = Coding(options={"g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0:b-adapt=0"})


def table_of(coding: Coding, **kwargs) -> PacketTable:
    with av.open(io.BytesIO(encode_numbered(coding, **kwargs))) as container:
        return read_packets(container, container.streams.video[0])


def test_frames_are_numbered_by_time_and_found_by_packet():
    table = table_of(CLOSED)
    assert table.num_frames == 40
    assert not np.array_equal(table.order, np.arange(40)), "B-frames are stored out of order"
    np.testing.assert_array_equal(table.rank[table.order], np.arange(40))
    assert table.time(10) == pytest.approx(10 / RATE)


def test_a_run_starts_at_the_nearest_key_and_ends_at_the_last_wanted_packet():
    (run,) = table_of(CLOSED).runs([26])
    assert run.first == 24
    assert run.last == table_of(CLOSED).order[26]
    assert run.primer is None
    assert run.thrifty


def test_groups_without_wanted_frames_are_left_out_and_neighbours_join():
    table = table_of(CLOSED)
    assert [(run.first, sorted(run.wanted)) for run in table.runs([0, 1, 38])] == [(0, [0, 1]), (36, [38])]
    whole = table.runs(range(40))
    assert [(run.first, run.last, len(run.wanted)) for run in whole] == [(0, 39, 40)]


def test_a_frame_shown_before_its_open_groups_key_starts_a_group_earlier():
    table = table_of(OPEN)
    keys = np.flatnonzero(table.is_key)
    leading = [n for n in range(40) if table.rank[keys[1]] > n and table.order[n] > keys[1]]
    assert leading, "the encoder made no leading pictures"
    assert table.runs([leading[0]])[0].first == 0
    after = int(table.rank[keys[1]])
    (run,) = table.runs([after + 4])
    assert run.first == keys[1]
    assert {int(table.rank[n]) for n in table.sent(run)}.isdisjoint(leading)


def test_a_stream_that_refreshes_slowly_has_one_clean_start():
    table = table_of(Coding(options={"x264-params": "intra-refresh=1:keyint=12:bframes=0"}))
    assert table.is_key.sum() > 1
    assert [run.first for run in table.runs([39])] == [0]


@pytest.mark.parametrize("container", ["avi", "h264"])
def test_where_containers_do_not_time_pictures_all_is_decoded(container):
    table = table_of(replace(CLOSED, container=container))
    assert not table.seekable
    (run,) = table.runs([38, 39])
    assert (run.first, run.last, run.thrifty) == (0, 39, False)
    assert table.time(39) == pytest.approx(39 / RATE)


def test_codecs_that_nobody_vouches_for_are_decoded_from_the_start():
    assert [run.first for run in table_of(Coding("flv", "flv", options={"g": "6"})).runs([39])] == [0]


@pytest.mark.parametrize(
    ("coding", "primer"),
    [
        (Coding("mpeg4", options={"g": "12"}), 0),
        (Coding("mpeg2video", "mpegts", options={"g": "12"}), 0),
        (replace(CLOSED, container="mpegts"), None),
        (Coding("libvpx", "webm", options={"g": "12", "deadline": "realtime"}), None),
        (Coding("mjpeg", "mov", "yuvj420p"), None),
    ],
    ids=str,
)
def test_a_late_start_is_primed_where_the_first_packet_tells_more(coding, primer):
    (run,) = table_of(coding).runs([39])
    assert run.first > 0
    assert run.primer == primer


def test_a_start_without_parameter_sets_is_primed_by_the_last_that_had_them():
    table = table_of(replace(CLOSED, container="mpegts"))
    packets = [av.Packet(_bare(bytes(p)) if n in {12, 36} else bytes(p)) for n, p in enumerate(table.packets)]
    bare = replace(table, packets=packets)
    assert [bare.runs([frame])[0].primer for frame in (5, 17, 29, 39)] == [None, 0, None, 24]


def _bare(packet: bytes) -> bytes:
    """Take the parameter sets out of an H.264 packet."""
    kept = [unit for unit in NalFormat("h264", 0, 1).units(packet) if unit[0] & 31 not in {7, 8}]
    return b"".join(b"\0\0\1" + unit for unit in kept)


def test_pictures_are_left_out_only_where_no_layer_may_need_them():
    x265 = "log-level=none:pools=1:keyint=12"
    flat = Coding("libx265", options={"preset": "ultrafast", "x265-params": x265})
    layered = Coding("libx265", options={"preset": "ultrafast", "x265-params": f"{x265}:temporal-layers=3:bframes=4"})
    assert table_of(flat).may_skip
    assert not table_of(layered).may_skip
    assert table_of(CLOSED).may_skip
    assert not table_of(Coding("libvpx", "webm", options={"deadline": "realtime"})).may_skip


def test_the_decoder_is_told_the_encoders_version():
    options = table_of(CLOSED).options()
    assert int(options["x264_build"]) > 100
    assert table_of(Coding("mjpeg", "mov", "yuvj420p")).options() == {}
