"""The object store behind the tests is a real one: ranges, multipart uploads, listings and signatures work."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import botocore.exceptions
import pytest
import s3fs

from tests.support.object_store import running_store

MIB = 1 << 20


@pytest.fixture
def bucket(object_store):
    name = f"contract-{uuid.uuid4().hex[:8]}"
    assert object_store.make_bucket(name) == f"s3://{name}"
    return name


def test_range_of_an_object_is_exact(object_store, bucket):
    body = os.urandom(MIB)
    client = object_store.client()
    client.put_object(Bucket=bucket, Key="a/b.bin", Body=body)

    answer = client.get_object(Bucket=bucket, Key="a/b.bin", Range="bytes=1000-1999")

    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert answer["Body"].read() == body[1000:2000]
    assert client.head_object(Bucket=bucket, Key="a/b.bin")["ContentLength"] == MIB


def test_multipart_upload_of_three_parts(object_store, bucket):
    parts = [os.urandom(5 * MIB), os.urandom(6 * MIB), os.urandom(100)]
    client = object_store.client()
    upload = client.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    where = {"Bucket": bucket, "Key": "big", "UploadId": upload}
    tags = [client.upload_part(PartNumber=n, Body=part, **where)["ETag"] for n, part in enumerate(parts, start=1)]
    listed = {"Parts": [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, start=1)]}

    assert "Contents" not in client.list_objects_v2(Bucket=bucket), "an unfinished upload must not be visible"
    client.complete_multipart_upload(MultipartUpload=listed, **where)

    across = client.get_object(Bucket=bucket, Key="big", Range=f"bytes={5 * MIB - 10}-{5 * MIB + 9}")
    assert across["Body"].read() == parts[0][-10:] + parts[1][:10]
    assert client.head_object(Bucket=bucket, Key="big")["ContentLength"] == sum(map(len, parts))


def test_wrong_key_is_refused(object_store, bucket):
    with pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch"):
        object_store.client(secret_key="wrong").list_objects_v2(Bucket=bucket)


def test_if_match_refuses_another_etag(object_store, bucket):
    client = object_store.client()
    tag = client.put_object(Bucket=bucket, Key="x", Body=b"one")["ETag"]
    client.put_object(Bucket=bucket, Key="x", Body=b"two")
    with pytest.raises(botocore.exceptions.ClientError, match="PreconditionFailed"):
        client.get_object(Bucket=bucket, Key="x", IfMatch=tag)


def test_s3fs_reaches_it_by_the_aws_variables_alone(object_store, bucket):
    fs = s3fs.S3FileSystem(skip_instance_cache=True)
    body = os.urandom(12 * MIB)
    with fs.open(f"{bucket}/f/g", "wb", block_size=5 * MIB) as file:
        file.write(body)
    assert fs.cat_file(f"{bucket}/f/g", start=7 * MIB, end=8 * MIB) == body[7 * MIB : 8 * MIB]
    assert fs.find(bucket) == [f"{bucket}/f/g"]


def test_data_outlive_a_restart(object_store, tmp_path):
    for expected in (None, b"kept"):
        with running_store(tmp_path) as store:
            client = store.client()
            store.make_bucket("again")
            if expected is None:
                client.put_object(Bucket="again", Key="k", Body=b"kept")
            assert client.get_object(Bucket="again", Key="k")["Body"].read() == b"kept"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_command_prints_its_variables_and_leaves_no_server(object_store, tmp_path, how):
    command = [sys.executable, "-m", "tests.support.object_store", "--dir", str(tmp_path), "--bucket", "videos"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(6)]
        exports = dict(re.fullmatch(r"export (\w+)=(.*)\n", line).groups() for line in lines[:5])
        assert exports["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
        assert lines[5] == f"# up at {exports['AWS_ENDPOINT_URL']} with s3://videos; Ctrl-C ends it\n"
        assert exports["AWS_ACCESS_KEY_ID"] == object_store.access_key
        assert len(_servers_of(tmp_path)) == 4
        process.send_signal(how)
        process.wait(timeout=30)
    assert process.returncode == (0 if how == signal.SIGINT else -signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _servers_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _servers_of(tmp_path) == []


def _servers_of(folder):
    """Return the process numbers whose command line names a configuration below ``folder``."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder / "etc").encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found
