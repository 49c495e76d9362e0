"""How commands end: the exit status, one line for an error, numbers and hostile text spelt for a person."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from shards.store import StoreError, StoreOutageError
from tools.console import StoppedError, command, parse_size, printable, spell_seconds, spell_size


def ending(function):
    with pytest.raises(typer.Exit) as caught:
        command(function)()
    return caught.value.exit_code


def raising(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize("status", [0, 1])
def test_a_command_ends_with_what_it_returns(status):
    assert ending(lambda: status) == status


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ValueError("no such column"), 2, "vidloom: error: no such column"),
        (StoreError("cannot read s3://x"), 2, "vidloom: error: cannot read s3://x"),
        (StoppedError("the disk is full"), 1, "vidloom: stopped: the disk is full"),
        (StoreOutageError("cannot read s3://x"), 1, "vidloom: stopped: cannot read s3://x"),
        (ValueError("no file \x1b[2J"), 2, "vidloom: error: no file \\x1b[2J"),
        (KeyboardInterrupt(), 130, "vidloom: interrupted"),
    ],
)
def test_errors_become_one_line_and_a_status(capsys, error, status, said):
    assert ending(raising(error)) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert err.count("\n") == 1


def test_an_error_of_many_lines_keeps_them(capsys):
    assert ending(raising(ValueError("they differ:\n  a\r: 1\n  b: 2"))) == 2
    assert capsys.readouterr().err == "vidloom: error: they differ:\n  a\\r: 1\n  b: 2\n"


def test_our_own_mistakes_are_not_hidden():
    with pytest.raises(KeyError):
        command(raising(KeyError("bug")))()


def test_a_request_to_end_is_an_interruption():
    before = signal.getsignal(signal.SIGTERM)
    assert ending(lambda: os.kill(os.getpid(), signal.SIGTERM) or signal.pause()) == 130
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("256MiB", 256 << 20),
        ("256 mib", 256 << 20),
        ("1.5GB", 1_500_000_000),
        ("2K", 2000),
        ("2KiB", 2048),
        ("1T", 10**12),
        ("7B", 7),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1MB", "1XB", "1 2", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


def test_numbers_are_spelt_for_a_person():
    assert [spell_size(size) for size in (0, 1023, 1024, 5 << 30, 1 << 60)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "5.0 GiB",
        "1048576.0 TiB",
    ]
    assert [spell_seconds(seconds) for seconds in (0.25, 59.0, 61.0, 3661.0)] == [
        "0.2 s",
        "59.0 s",
        "1 min 01 s",
        "1 h 01 min",
    ]


def test_text_from_outside_cannot_upset_a_terminal():
    assert printable("a\x1b[2J\nb\udce9 \u202e é") == "a\\x1b[2J\\nb\\udce9 \\u202e é"


SPEAKER = """
import typer
from tools.console import command, run_app
app = typer.Typer()
@app.command()
@command
def speak():
    {work}
    return 0
run_app(app)
"""


def ending_of(work, *options, stderr=subprocess.PIPE, unbuffered=False):
    """Run a command in a process of its own whose standard output is closed before it speaks."""
    code = f"import sys; sys.stdin.read()  # until the reader is gone\n{SPEAKER.format(work=work)}"
    flags = ["-u"] if unbuffered else []
    with subprocess.Popen(
        [sys.executable, *flags, "-c", code, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
    ) as process:
        process.stdout.close()
        process.stdin.close()
        said = process.stderr.read().decode() if process.stderr else ""
    return process.returncode, said


@pytest.mark.parametrize("unbuffered", [True, False])
@pytest.mark.parametrize("size", [1, 100_000])
def test_a_reader_that_goes_away_ends_a_command_without_a_word(size, unbuffered):
    assert ending_of(f"print('x' * {size})", unbuffered=unbuffered) == (141, "")


def test_errors_keep_their_status_where_nobody_reads_them():
    assert ending_of("raise ValueError('x')", stderr=subprocess.STDOUT) == (2, "")


def test_another_broken_pipe_is_told_of():
    work = "import os; ends = os.pipe(); os.close(ends[0]); os.write(ends[1], b'x')"
    with subprocess.Popen(
        [sys.executable, "-c", SPEAKER.format(work=work)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        out, said = process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert said == b"vidloom: error: [Errno 32] Broken pipe\n"


@pytest.mark.parametrize(("option", "stderr"), [("--help", subprocess.PIPE), ("--nope", subprocess.STDOUT)])
def test_help_and_usage_that_nobody_reads_end_without_a_word(option, stderr):
    assert ending_of("pass", option, stderr=stderr) == (141, "")


@pytest.mark.parametrize("stream", ["closed", "full"])
def test_output_that_cannot_be_written_is_one_line(stream):
    shell = {"closed": ">&-", "full": "> /dev/full"}[stream]
    code = SPEAKER.format(work="print('x')")
    ended = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {shell}', sys.executable, code],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )  # fmt: skip
    if stream == "closed":
        assert (ended.returncode, ended.stderr) == (0, "")
    else:
        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
        assert "No space left on device" in ended.stderr


def test_help_that_cannot_be_written_is_one_line():
    command_line = [sys.executable, "-c", SPEAKER.format(work="pass"), "--help"]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(command_line, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (1, b"vidloom: stopped: [Errno 28] No space left on device\n")
