"""What INPUT arguments name: single files, patterns, folders, several of one kind, here and in a bucket."""

from __future__ import annotations

import pytest

from shards.store import open_store
from tools.corpus.input_files import find_files, shared_folder


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def found(*specs):
    files = find_files([str(spec) for spec in specs])
    assert shared_folder([str(spec) for spec in specs]) == files.folder.url
    return files.kind, files.folder.url, list(files.names)


@pytest.mark.parametrize("name", ["t.csv", "T.CSV.gz", "a b.json", "t.parquet.gz", "l.txt", "t.db.gz", "[x].tsv"])
def test_one_table(tmp_path, name):
    touch(tmp_path, name)
    assert found(tmp_path / name) == ("tables", str(tmp_path), [name])


def test_patterns_take_names_in_order(tmp_path):
    touch(tmp_path, "b.csv", "a1.csv", "a2.csv", "a3.txt", "x/a4.csv", "x/y/a5.csv", "c^d.csv")
    assert found(f"{tmp_path}/a?.csv") == ("tables", str(tmp_path), ["a1.csv", "a2.csv"])
    assert found(f"{tmp_path}/[!a-b]*.csv")[2] == ["c^d.csv"]
    assert found(f"{tmp_path}/*/*.csv")[2] == ["x/a4.csv"]
    assert found(f"{tmp_path}/**/a*.csv")[2] == ["a1.csv", "a2.csv", "x/a4.csv", "x/y/a5.csv"]
    assert found(f"{tmp_path}/x/**/a[45].csv") == ("tables", f"{tmp_path}/x", ["a4.csv", "y/a5.csv"])


def test_several_inputs_keep_their_order_and_share_a_folder(tmp_path):
    touch(tmp_path, "x/b.csv", "x/a.jsonl", "y/c.csv")
    kind, folder, names = found(tmp_path / "x" / "b.csv", f"{tmp_path}/x/*.jsonl", tmp_path / "y" / "c.csv")
    assert (kind, folder, names) == ("tables", str(tmp_path), ["x/b.csv", "x/a.jsonl", "y/c.csv"])
    assert find_files([str(tmp_path / "x/b.csv"), f"{tmp_path}/x/*"]).names == ("b.csv", "a.jsonl")
    assert find_files(f"{tmp_path}/x/*").shown == "a.jsonl and 1 more"


def test_inputs_may_be_named_by_way_of_the_folder_above(tmp_path, monkeypatch):
    touch(tmp_path, "x/a.csv", "y/b.csv")
    monkeypatch.chdir(tmp_path / "y")
    assert found("../x/a.csv", "b.csv") == ("tables", str(tmp_path), ["x/a.csv", "y/b.csv"])
    assert found("../x/a.csv", "../y/../y/b.csv")[1:] == (str(tmp_path), ["x/a.csv", "y/b.csv"])


def test_a_folder_is_its_videos_else_its_tars_else_its_tables(tmp_path):
    touch(
        tmp_path,
        "v/b.mp4",
        "v/a/c.WEBM",
        "v/a/c.txt",
        "v/list.csv",
        "v/.hidden.mp4",
        "v/.git/x.mp4",
        "v/_vidloom/y.mp4",
    )
    assert found(tmp_path / "v") == ("videos", str(tmp_path / "v"), ["a/c.WEBM", "b.mp4"])
    touch(tmp_path, "t/00000.tar", "t/00000.parquet", "t/00000_stats.json", "s/1.csv", "s/2.csv", "s/README")
    assert found(tmp_path / "t")[::2] == ("tars", ["00000.tar"])
    assert found(tmp_path / "s")[::2] == ("tables", ["1.csv", "2.csv"])


def test_our_datasets_below_a_folder_are_no_inputs_of_it_but_one_itself_is(tmp_path):
    touch(tmp_path, "a.mp4", "out/00000.tar", "out/_vidloom/plan.json", "x/out/1.tar", "x/out/_vidloom/a", "x/b.mp4")
    assert found(tmp_path)[::2] == ("videos", ["a.mp4", "x/b.mp4"])
    assert found(tmp_path / "out")[::2] == ("tars", ["00000.tar"])


@pytest.mark.parametrize(
    ("specs", "said"),
    [
        (["none.csv/*.csv"], "names nothing"),
        (["x.xlsx"], r"x\.xlsx: the ending of the name does not tell a table; taken are \.csv"),
        (["*"], "names several kinds of files"),
        (["a.csv", "b.tar"], "the inputs are tables and tars; give inputs of one kind"),
        (["both"], r"holds videos and tars; name those you mean, as in .*both/\*\.tar"),
        (["empty"], "holds no videos, tars or tables"),
        ([], "no input is given"),
    ],
)
def test_what_names_no_input_is_refused(tmp_path, specs, said):
    touch(tmp_path, "a.csv", "b.tar", "both/a.mp4", "both/b.tar", "empty/x.md")
    with pytest.raises(ValueError, match=said):
        find_files([f"{tmp_path}/{spec}" for spec in specs])


def test_stores_of_several_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="stores of several kinds"):
        find_files([str(tmp_path / "a.csv"), "s3://bucket/b.csv"])
    with pytest.raises(ValueError, match="several buckets"):
        find_files(["s3://one/b.csv", "s3://two/b.csv"])


def test_signatures_of_urls_are_not_shown():
    files = find_files("https://host/lists/corpus.csv.gz?X-Amz-Signature=geheim")
    assert (files.kind, files.shown) == ("tables", "corpus.csv.gz?X-Amz-Signature=***")


def test_a_bucket_is_listed_alike(object_store):
    bucket = object_store.make_bucket("inputs")
    store = open_store(bucket)
    for name in ("lists/a1.csv", "lists/a2.csv", "lists/deep/a3.csv", "videos/x/a.mp4", "videos/x/a.txt"):
        store.put(name, b"")
    assert found(f"{bucket}/lists/a*.csv") == ("tables", f"{bucket}/lists", ["a1.csv", "a2.csv"])
    assert found(f"{bucket}/lists/**/a[23].csv")[2] == ["a2.csv", "deep/a3.csv"]
    assert found(f"{bucket}/videos") == ("videos", f"{bucket}/videos", ["x/a.mp4"])
    assert found(f"{bucket}/lists/") == ("tables", f"{bucket}/lists", ["a1.csv", "a2.csv", "deep/a3.csv"])
