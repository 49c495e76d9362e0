"""Videos stay below the root: hostile names are refused before anything is opened, missing files are named."""

from __future__ import annotations

import errno
import os
import pickle
from dataclasses import replace

import pytest

from shards.ledger import Reason
from shards.store import Patience, StoreOutageError, open_store
from tools.corpus.fetching import Fetching
from tools.corpus.sources import SourceError, Sources


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    (folder / "videos").mkdir(parents=True)
    (folder / "videos" / "a.mp4").write_bytes(b"inside")
    (tmp_path / "secret.mp4").write_bytes(b"outside")
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "inner.mp4").symlink_to(folder / "videos" / "a.mp4")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    os.mkfifo(folder / "pipe.mp4")
    return folder


def reason(sources, video):
    with pytest.raises(SourceError) as caught:
        sources.find(video)
    return caught.value.fault.reason


@pytest.mark.parametrize("video", ["videos/a.mp4", "./videos/a.mp4", "videos/../videos//a.mp4", "inner.mp4"])
def test_names_below_the_root_are_found(root, tmp_path, video):
    sources = Sources.below(str(root), allow_outside=False)
    assert sources.find(video).size == 6
    with sources.reading(video, tmp_path) as path:
        assert path.read_bytes() == b"inside"


def test_full_paths_and_file_urls_are_taken_below_the_root_only(root, tmp_path):
    sources = Sources.below(str(root), allow_outside=False)
    assert sources.find(str(root / "videos" / "a.mp4")).size == 6
    assert sources.find((root / "videos" / "a.mp4").as_uri()).size == 6
    assert reason(sources, str(tmp_path / "secret.mp4")) is Reason.OUTSIDE_ROOT
    assert reason(sources, (tmp_path / "secret.mp4").as_uri()) is Reason.OUTSIDE_ROOT


@pytest.mark.parametrize(
    "video",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "../secret.mp4",
        "videos/../../secret.mp4",
        "link.mp4",
        "linked/secret.mp4",
        "s3://bucket/a.mp4",
        "../root2/a.mp4",
        "../no/such/file",
    ],
)
def test_names_that_lead_out_of_the_root_are_refused(root, video):
    (root.parent / "root2").mkdir()
    (root.parent / "root2" / "a.mp4").write_bytes(b"beside")
    assert reason(Sources.below(str(root), allow_outside=False), video) is Reason.OUTSIDE_ROOT


@pytest.mark.parametrize("video", ["../secret.mp4", "link.mp4", "linked/secret.mp4"])
def test_videos_outside_are_taken_where_that_is_allowed(root, tmp_path, video):
    with Sources.below(str(root), allow_outside=True).reading(video, tmp_path) as path:
        assert path.read_bytes() == b"outside"


@pytest.mark.parametrize(
    ("video", "said"),
    [
        ("link.mp4", "link.mp4 is a link that leads out of the root; --allow-outside"),
        ("./link.mp4", "./link.mp4 is a link that leads out of the root; --allow-outside"),
        ("linked/secret.mp4", "linked/secret.mp4 leads out of the root by the link linked; --allow-outside"),
        ("../secret.mp4", "../secret.mp4 leads out of the root; --allow-outside"),
        ("linked/../a.mp4", "linked/../a.mp4 leads out of the root; --allow-outside"),
    ],
)
def test_a_link_that_leads_out_is_named(root, video, said):
    with pytest.raises(SourceError) as caught:
        Sources.below(str(root), allow_outside=False).find(video)
    assert caught.value.fault.message.startswith(said)


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        ("none.mp4", Reason.NOT_FOUND),
        ("videos/a.mp4/b.mp4", Reason.NOT_FOUND),
        ("a\0b.mp4", Reason.NOT_FOUND),
        ("videos", Reason.UNREADABLE),
        (".", Reason.UNREADABLE),
        ("pipe.mp4", Reason.UNREADABLE),
        ("loop.mp4", Reason.UNREADABLE),
        ("x" * 5000, Reason.UNREADABLE),
    ],
)
def test_what_cannot_be_read_is_named(root, video, expected):
    assert reason(Sources.below(str(root), allow_outside=False), video) is expected


def test_messages_do_not_depend_on_where_the_root_lies(root):
    sources = Sources.below(str(root), allow_outside=False)
    for video in ("none.mp4", "videos", "link.mp4"):
        with pytest.raises(SourceError) as caught:
            sources.find(video)
        assert str(root) not in str(caught.value)
        assert video in str(caught.value)


def test_a_root_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"--root .*none is no folder"):
        Sources.below(str(tmp_path / "none"), allow_outside=False)


def test_a_root_reached_by_a_link_holds_its_own_videos(root, tmp_path):
    (tmp_path / "alias").symlink_to(root)
    assert Sources.below(str(tmp_path / "alias"), allow_outside=False).find("videos/a.mp4").size == 6


def test_sources_travel_to_another_process(root):
    sources = Sources.below(str(root), allow_outside=False)
    assert pickle.loads(pickle.dumps(sources)) == sources


@pytest.fixture
def bucket(object_store):
    url = object_store.make_bucket("sources")
    store = open_store(url)
    for name in ("corpus/videos/a.mp4", "secret.mp4", "corpus2/a.mp4"):
        store.put(name, name.encode())
    return url


def test_remote_videos_below_a_remote_root(bucket, tmp_path, monkeypatch):
    sources = Sources.below(f"{bucket}/corpus", allow_outside=False)
    for video in ("videos/a.mp4", f"{bucket}/corpus/videos/a.mp4", "videos/../videos/a.mp4"):
        with sources.reading(video, tmp_path) as data:
            assert data == b"corpus/videos/a.mp4"
    with replace(sources, fetching=Fetching(memory_bytes=3)).reading("videos/a.mp4", tmp_path) as path:
        assert path.read_bytes() == b"corpus/videos/a.mp4"
    assert list(tmp_path.iterdir()) == []


def test_remote_names_that_lead_out_or_are_not_there(bucket, tmp_path):
    sources = Sources.below(f"{bucket}/corpus", allow_outside=False)
    for video in (
        "../secret.mp4",
        f"{bucket}/secret.mp4",
        f"{bucket}/corpus2/a.mp4",
        "s3://other/a",
        "/etc/passwd",
        ".",
    ):
        assert reason(sources, video) is Reason.OUTSIDE_ROOT
    assert reason(sources, "videos/none.mp4") is Reason.NOT_FOUND
    allowed = Sources.below(f"{bucket}/corpus", allow_outside=True)
    assert reason(allowed, "../../other/a") is Reason.OUTSIDE_ROOT
    with allowed.reading(f"{bucket}/secret.mp4", tmp_path) as data:
        assert data == b"secret.mp4"


def test_remote_videos_beside_a_local_root(bucket, root, tmp_path):
    assert reason(Sources.below(str(root), allow_outside=False), f"{bucket}/secret.mp4") is Reason.OUTSIDE_ROOT
    with Sources.below(str(root), allow_outside=True).reading(f"{bucket}/secret.mp4", tmp_path) as data:
        assert data == b"secret.mp4"


def test_an_outage_of_the_store_is_no_fault_of_the_row(bucket, tmp_path, monkeypatch):
    sources = Sources.below(f"{bucket}/corpus", allow_outside=False)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "EXPIRED")
        with pytest.raises(StoreOutageError, match=r"corpus/videos/a\.mp4"):
            sources.find("videos/a.mp4")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    impatient = Sources(open_store(f"{bucket}/corpus", patience=Patience(1, 1, 1)))
    with pytest.raises(StoreOutageError, match=r"corpus/videos/a\.mp4"), impatient.reading("videos/a.mp4", tmp_path):
        pass


def test_a_full_disk_while_a_video_is_fetched_is_no_fault_of_the_row(tmp_path, monkeypatch):
    store = open_store(f"memory://{tmp_path.name}")
    store.put("a.mp4", b"large")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with (
        pytest.raises(OSError, match="No space left") as caught,
        Sources.below(store.url, allow_outside=False, fetching=Fetching(memory_bytes=3)).reading("a.mp4", tmp_path),
    ):
        pass
    assert caught.value.errno == errno.ENOSPC


def test_a_network_folder_that_went_away_is_no_fault_of_the_row(root, monkeypatch):
    sources = Sources.below(str(root), allow_outside=False)

    def stale(*_, **__):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("pathlib.Path.stat", stale)
    with pytest.raises(OSError, match="Stale"):
        sources.find("videos/a.mp4")


@pytest.mark.parametrize(
    "video",
    [
        "http://user:geheim@127.0.0.1:9/a.mp4?X-Amz-Signature=geheim",
        "s3://AKIA:gehe/im@bucket/a.mp4?X-Amz-Credential=geheim",
    ],
)
def test_messages_hold_no_credentials(root, video):
    for outside in (False, True):
        with pytest.raises(SourceError) as caught:
            Sources.below(str(root), allow_outside=outside, fetching=Fetching(attempts=1)).find(video)
        for text in (str(caught.value), caught.value.fault.message):
            assert "gehe" not in text
            assert "AKIA" not in text


@pytest.mark.parametrize(("url", "package"), [("gs://bucket/a.mp4", "gcsfs"), ("teleport://here/a.mp4", "teleport")])
def test_a_scheme_without_its_package_is_refused_by_its_name(root, url, package):
    for allow_outside, expected in ((False, Reason.OUTSIDE_ROOT), (True, Reason.UNSUPPORTED)):
        with pytest.raises(SourceError) as caught:
            Sources.below(str(root), allow_outside=allow_outside).find(url)
        assert caught.value.fault.reason is expected
    assert package in str(caught.value)
    with pytest.raises(ValueError, match=package):
        Sources.below(url, allow_outside=False)


def test_another_ones_host_that_is_dead_is_no_outage_but_the_roots_is(root, tmp_path):
    assert reason(Sources.below(str(root), allow_outside=True), "ftp://127.0.0.1:9/a.mp4") is Reason.UNREACHABLE
    with pytest.raises(StoreOutageError):
        Sources.below("ftp://127.0.0.1:9/videos", allow_outside=False).find("a.mp4")


def test_a_video_that_is_too_large_is_not_fetched(tmp_path):
    store = open_store(f"memory://{tmp_path.name}")
    store.put("a.mp4", b"large")
    sources = Sources.below(store.url, allow_outside=False, fetching=Fetching(max_bytes=4))
    said = "has 5 bytes; taken are at most 4"
    with pytest.raises(SourceError, match=said) as caught, sources.reading("a.mp4", tmp_path):
        pass
    assert caught.value.fault.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("setting", [{"attempts": 0}, {"seconds": 0.5}, {"per_host": 0}, {"ahead": -1}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(ValueError, match="must be at least"):
        Fetching(**setting)


def test_a_name_without_its_ending_is_the_first_that_is_there(root, bucket, tmp_path):
    (root / "x.webm").write_bytes(b"12")
    (root / "x.mkv").write_bytes(b"1")
    (root / "x.txt").write_bytes(b"")
    here = Sources.below(str(root), allow_outside=False)
    assert (here.find("x.*").name, here.find("x.*").size) == ("x.webm", 2)
    open_store(bucket).put("any/y.avi", b"123")
    there = Sources.below(f"{bucket}/any", allow_outside=False)
    with there.reading("y.*", tmp_path) as source:
        assert source == b"123"
    assert reason(here, "../x.*") is Reason.OUTSIDE_ROOT
    with pytest.raises(SourceError, match=r"there is no file y\.\*, with none of mp4, webm"):
        here.find("y.*")


def test_members_of_tars_are_read_in_place(root, bucket, tmp_path):
    open_store(bucket).put("t.tar", bytes(range(100)))
    (root / "t.tar").write_bytes(bytes(range(100)))
    for sources in (Sources.below(str(root), allow_outside=False), Sources.below(bucket, allow_outside=False)):
        place = sources.find("t.tar#a/b.mp4@10+5")
        assert (place.size, place.path) == (5, None)
        with place.open() as file:
            assert (file.seek(-2, os.SEEK_END), file.read(), file.seek(1), file.read(2)) == (
                3,
                b"\r\x0e",
                1,
                b"\x0b\x0c",
            )
        small = replace(sources, fetching=replace(sources.fetching, memory_bytes=4))
        with sources.reading("t.tar#a/b.mp4@10+5", tmp_path) as held, small.reading("t.tar#b@0+100", tmp_path) as copy:
            assert held == bytes(range(10, 15))
            assert copy.read_bytes() == bytes(range(100))
        assert not copy.exists()
        assert reason(sources, "t.tar#a@96+5") is Reason.TRUNCATED
        assert reason(sources, "../t.tar#a@0+5") is Reason.OUTSIDE_ROOT
        assert reason(sources, "none.tar#a@0+5") is Reason.NOT_FOUND


def test_an_object_that_is_refused_alone_is_forbidden(tmp_path, monkeypatch):
    store = open_store(f"memory://{tmp_path.name}")
    store.put("a.mp4", b"x")

    def refuse(*_):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(store._remote.system), "info", refuse)
    assert reason(Sources.below(store.url, allow_outside=False), "a.mp4") is Reason.FORBIDDEN
