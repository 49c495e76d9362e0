"""Tests of opening files of unknown origin: bounds, refusals, and errors that keep their reason."""

from __future__ import annotations

import io
import pickle

import pytest

from shards.errors import StoreError, StoreOutageError
from shards.ledger import Reason
from tests.support.numbered_videos import Coding, encode_numbered
from tools.corpus.media_file import Limits, MediaError, open_media, source_bytes, source_head, video_stream

MP4 = encode_numbered(Coding(), 5)


def reason_of(source, limits=None) -> Reason:
    with pytest.raises(MediaError) as caught, open_media(source, limits or Limits()) as container:
        video_stream(container, limits or Limits())
    return caught.value.reason


def test_paths_bytes_and_open_files_are_read(tmp_path):
    path = tmp_path / "a %03d #1.mp4"
    path.write_bytes(MP4)
    for source in (path, str(path), MP4, io.BytesIO(MP4)):
        assert source_bytes(source) == MP4
        assert source_head(source, 12) == MP4[:12]
        with open_media(source, Limits()) as container:
            assert video_stream(container, Limits()).codec_context.width == 128


def test_what_is_no_video_is_refused(tmp_path):
    assert reason_of(tmp_path / "absent.mp4") == Reason.NOT_FOUND
    assert reason_of(tmp_path) == Reason.NOT_A_VIDEO
    assert reason_of(b"") == Reason.NOT_A_VIDEO
    assert reason_of(b"only words, no video") == Reason.NOT_A_VIDEO


class Broken(io.BytesIO):
    """A file whose reader fails behind its first bytes."""

    def __init__(self, error: OSError) -> None:
        super().__init__(MP4)
        self.error = error

    def read(self, size=-1):
        raise self.error


def test_a_store_out_of_reach_is_no_fault_of_the_file():
    with pytest.raises(StoreOutageError), open_media(Broken(StoreOutageError("gone")), Limits()):
        pass
    assert reason_of(Broken(StoreError("refused"))) == Reason.UNREADABLE


def test_playlists_do_not_open_other_files(tmp_path):
    (tmp_path / "secret.ts").write_bytes(encode_numbered(Coding(container="mpegts"), 5))
    playlist = tmp_path / "list.mp4"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.ts\n#EXT-X-ENDLIST\n", encoding="ascii")
    assert reason_of(playlist) == Reason.NOT_A_VIDEO
    script = tmp_path / "list.txt"
    script.write_text("ffconcat version 1.0\nfile secret.ts\n", encoding="ascii")
    assert reason_of(script) == Reason.NOT_A_VIDEO


def test_bounds_hold_before_anything_is_decoded():
    assert reason_of(MP4, Limits(max_bytes=100)) == Reason.TOO_LARGE
    assert reason_of(MP4, Limits(max_pixels=128 * 96 - 1)) == Reason.TOO_LARGE
    with open_media(MP4, Limits(max_pixels=128 * 96)) as container:
        video_stream(container, Limits(max_pixels=128 * 96))


def test_errors_keep_their_reason_across_processes():
    error = pickle.loads(pickle.dumps(MediaError(Reason.TRUNCATED, "half")))
    assert isinstance(error, MediaError)
    assert (error.reason, str(error)) == (Reason.TRUNCATED, "half")
