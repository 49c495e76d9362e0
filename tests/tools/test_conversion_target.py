"""Converted weights are written whole or not at all: full disks, interruptions, names that are taken or cannot be."""

from __future__ import annotations

import resource
import signal
import sys

import pytest
import torch

from model.saved import Description, describe
from pipelines.weights import read_weights, write_weights
from tests.support.tiny_networks import tiny_network
from tools import conversion_target
from tools.__main__ import main
from tools.conversion_target import Target, parse_target, require_layout, write_target

OWN = Target("vidloom", None, is_torch=False)
HUB = Target("videomae", "model", is_torch=True)


@pytest.fixture(scope="module")
def about():
    return describe(tiny_network("videomae_pretrain"))


@pytest.fixture
def source(tmp_path):
    network = tiny_network("videomae_pretrain")
    write_weights(tmp_path / "in.safetensors", network.state_dict(), describe(network).to_metadata())
    return tmp_path / "in.safetensors"


@pytest.mark.parametrize(
    ("to", "out", "target"),
    [
        (None, "x.safetensors", OWN),
        ("videomae", "x.PTH", HUB),
        ("videomae:bare", "s3://bucket/x.pth", Target("videomae", None, is_torch=True)),
        ("videomae:bare", "x.safetensors", Target("videomae", None, is_torch=False)),
        ("uniformerv2", "x.pyth", Target("uniformerv2", None, is_torch=True)),
    ],
)
def test_layout_and_name_say_how_a_file_is_written(to, out, target):
    assert parse_target(to, out) == target


def test_a_folder_is_no_file(tmp_path):
    folder = tmp_path / "x.pth"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"x\.pth is a folder: name a file in it, such as .*x\.pth/weights\.pth"):
        parse_target("videomae", str(folder))


def test_an_output_without_a_name_is_refused():
    with pytest.raises(ValueError, match="the output, which is empty, has the suffix none; taken are"):
        parse_target(None, "")


def test_layouts_are_known_by_name():
    require_layout("vidloom")
    require_layout("clip")
    with pytest.raises(ValueError, match=r"no layout 'clop'; known are videomae, .*run, and vidloom, which is ours"):
        require_layout("clop")


@pytest.mark.parametrize("target", [OWN, HUB])
def test_the_same_file_may_be_written_again_and_no_other(tmp_path, about, target):
    out = str(tmp_path / "folder" / "x.bin")
    write_target(out, target, {"a": torch.ones(3)}, about)
    written = (tmp_path / "folder" / "x.bin").read_bytes()
    write_target(out, target, {"a": torch.ones(3)}, about)
    for other in (torch.zeros(3), torch.zeros(300)):
        with pytest.raises(ValueError, match=r"x\.bin holds something else already: remove it, or name another file"):
            write_target(out, target, {"a": other}, about)
    assert (tmp_path / "folder" / "x.bin").read_bytes() == written
    assert [each.name for each in (tmp_path / "folder").iterdir()] == ["x.bin"]


@pytest.mark.parametrize("target", [OWN, HUB])
@pytest.mark.parametrize(("name", "why"), [("file/x.bin", "File exists"), ("y" * 300, "File name too long")])
def test_a_name_that_cannot_be_is_a_fault_of_the_user(tmp_path, about, target, name, why):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=f"cannot write .*{name}: {why}; name a file in a folder") as caught:
        write_target(str(tmp_path / name), target, {"a": torch.ones(3)}, about)
    assert ".writing-" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def ending(monkeypatch, source, *args):
    """Run the program in the source's folder; return the status that it ends with."""
    monkeypatch.chdir(source.parent)
    monkeypatch.setattr(sys, "argv", ["vidloom", "convert", source.name, *args])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize("args", [["out.safetensors"], ["out.pth", "--to", "videomae"]])
def test_a_disk_without_room_stops_the_command_in_one_line(source, args, monkeypatch, capsys):
    """The kernel refuses to write more than so many bytes to a file, as it refuses on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        assert ending(monkeypatch, source, *args) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith(f"vidloom: stopped: cannot write {args[0]}: ")
    assert said.endswith("; nothing was written\n")
    assert said.count("\n") == 1
    assert list(source.parent.iterdir()) == [source]


@pytest.fixture
def interruptible():
    """Ctrl-C as programs have it: tests may run where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("stage", "number"), [("half", signal.SIGINT), ("whole", signal.SIGTERM)])
@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_conversion_leaves_nothing(source, stage, number, monkeypatch, capsys):
    sizes = []

    def interrupted(*args):
        if stage == "half":
            args[0].write_bytes(b"half")
        (temporary,) = source.parent.glob(".writing-*/out.safetensors")
        sizes.append(temporary.stat().st_size)
        signal.raise_signal(number)

    monkeypatch.setattr(conversion_target, {"half": "_save", "whole": "_require_free"}[stage], interrupted)
    assert ending(monkeypatch, source, "out.safetensors") == 130
    (size,) = sizes
    assert size == 4 if stage == "half" else size > source.stat().st_size // 2
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith("vidloom: interrupted")
    assert said.count("\n") == 1
    assert list(source.parent.iterdir()) == [source]


def test_our_own_files_say_what_they_hold(tmp_path, about):
    write_target(str(tmp_path / "x.safetensors"), OWN, {"a": torch.ones(3)}, about)
    stored = read_weights(tmp_path / "x.safetensors")
    assert Description.from_metadata(stored.metadata, source="x") == about
