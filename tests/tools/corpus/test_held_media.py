"""A held source is opened once however often it is sought, and anew only where it is read from its beginning again."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus import held_media
from tools.corpus.cut import CutSettings, clip_as_it_is
from tools.corpus.frames import decode_spans
from tools.corpus.held_media import HeldMedia
from tools.corpus.media_file import Limits, MediaError, open_media
from tools.corpus.probe import probe
from tools.corpus.timeline import Span

KEYED = Coding(options={"g": "10", "bf": "0"})


@pytest.fixture(scope="module")
def payload():
    return encode_numbered(KEYED)


@pytest.fixture
def opens(monkeypatch):
    seen = []
    monkeypatch.setattr(
        held_media,
        "open_media",
        lambda source, *rest, **options: (seen.append(source), open_media(source, *rest, **options))[1],
    )
    return seen


def test_seeking_needs_no_new_opening_but_going_back_to_the_start_does(payload, opens):
    times = probe(payload).packets.dts.tolist()
    opens.clear()
    with HeldMedia(payload, Limits()) as media:
        assert opens == []
        assert [packet.dts for packet in media.from_start() if packet.size] == times
        for key in (20, 10, 30):
            assert [packet.dts for packet in islice(media.from_key(times[key], times[key]), 3)] == times[key : key + 3]
        assert len(opens) == 1
        assert next(media.from_start()).dts == times[0]
        assert len(opens) == 2


def test_a_place_that_cannot_be_sought_is_told(payload):
    with HeldMedia(encode_numbered(Coding("mpeg2video", "mpeg")), Limits()) as media:
        assert media.from_key(-(1 << 40), -(1 << 40)) is None
    with HeldMedia(payload, Limits()) as media:
        assert media.from_key(1 << 40, 1 << 40) is not None, "the last key frame before that time"


def test_reordered_packets_are_entered_at_the_key_itself():
    payload = encode_numbered(Coding(options={"g": "10", "bf": "2"}))
    packets = probe(payload).packets
    with HeldMedia(payload, Limits()) as media:
        for key in (30, 10, 20):
            pts, dts = int(packets.pts[key]), int(packets.dts[key])
            assert pts > dts
            assert next(media.from_key(pts, dts)).dts == dts


def test_spans_far_apart_are_sought_in_one_opened_source(payload, opens):
    found = probe(payload)
    opens.clear()
    items = list(decode_spans(payload, found, [Span(2, 4), Span(12, 14), Span(31, 33)], Limits()))
    assert [item.number for item in items] == [2, 3, 12, 13, 31, 32]
    assert len(opens) == 1


def test_a_source_that_is_probed_is_read_on_without_another_opening(payload, opens):
    with HeldMedia(payload, Limits()) as media:
        found = probe(media)
        for _ in range(2):
            items = list(decode_spans(media, found, [Span(0, 40)], Limits()))
            assert [item.number for item in items] == list(range(40))
    assert len(opens) == 1


def test_a_beginning_that_cannot_be_sought_is_opened_anew(opens):
    with HeldMedia(encode_numbered(Coding(container="h264", options={"g": "10"})), Limits()) as media:
        found = probe(media)
        assert len(list(decode_spans(media, found, [Span(0, 40)], Limits()))) == 40
    assert len(opens) == 2


def test_what_cannot_be_opened_is_named():
    with HeldMedia(b"no video" * 20, Limits()) as media, pytest.raises(MediaError, match="no video container"):
        media.from_start()


def test_packets_are_kept_up_to_a_bound_and_of_the_last_reading_alone():
    payload = encode_numbered(Coding(options={"g": "10"}))
    sizes = probe(payload).packets.size.tolist()
    for most, count in ((0, 0), (sum(sizes) - 1, 0), (sum(sizes), len(sizes))):
        with HeldMedia(payload, Limits(), keep_bytes=most) as media:
            for _ in range(2):
                probe(media)
                assert [packet.size for packet in media.kept.packets] == sizes[:count]


def test_a_file_of_which_its_first_packets_say_all_is_opened_once(payload, opens):
    with HeldMedia(payload, Limits(), keep_bytes=1 << 20) as media:
        found = probe(media)
        clip_as_it_is(media, found, Span(10, 20), CutSettings())
        assert media.in_memory() is None, "its packets are kept"
    assert len(opens) == 1


def test_a_file_that_may_not_be_kept_or_is_of_another_kind_is_not_read_into_memory(payload, tmp_path):
    path, other = tmp_path / "video.mp4", tmp_path / "other.mkv"
    path.write_bytes(payload)
    other.write_bytes(encode_numbered(Coding(container="matroska")))
    for source, most in ((path, 0), (path, len(payload) - 1), (payload, len(payload) - 1), (other, 1 << 20)):
        with HeldMedia(source, Limits(), keep_bytes=most) as media:
            assert media.in_memory() is None
    with HeldMedia(tmp_path / "missing.mp4", Limits(), keep_bytes=1 << 20) as media:
        assert media.in_memory() is None
    for source in (path, str(path), payload):
        with HeldMedia(source, Limits(), keep_bytes=len(payload)) as media:
            assert media.in_memory().file.data == payload


def test_what_was_looked_at_in_haste_is_opened_again_for_the_demuxer(payload, opens):
    with HeldMedia(payload, Limits(), keep_bytes=1 << 20) as media:
        hasty = media.in_memory()
        assert media.whole().container is not hasty.container
    assert len(opens) == 2


def test_where_sound_comes_first_one_opening_does_for_both(monkeypatch, payload, opens):
    monkeypatch.setattr(held_media, "video_comes_first", lambda _: False)
    with HeldMedia(payload, Limits(), keep_bytes=1 << 20) as media:
        found = media.in_memory()
        assert media.whole().container is found.container
        assert [packet.dts for packet in media.from_start() if packet.size]
    assert len(opens) == 2


def test_what_was_kept_goes_with_the_source(payload):
    with HeldMedia(payload, Limits(), keep_bytes=1 << 20) as media:
        found = probe(media)
        clip_as_it_is(media, found, Span(10, 20), CutSettings())
        kept = media.kept
        assert len(kept.packets) == len(found.packets)
        assert kept.file == payload
        assert kept.copies is not None
    assert (len(kept.packets), kept.file, kept.copies) == (0, None, None)
