"""A real S3 server on loopback: SeaweedFS, all of it in one program and one folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Every storage that a test opens would read botocore's descriptions of S3 anew, which takes a sixth of a second.
botocore.session.create_loader = cache(botocore.session.create_loader)


@contextmanager
def running_weed(folder: Path) -> Iterator[str]:
    """The address of an empty bucket, with the keys of its account in the query.

    `s3://safelight-tests/tests?endpoint=http://127.0.0.1:PORT&region=us-east-1&access_key=...&secret_key=...`;
    another prefix in the place of `/tests` is a storage of its own.
    """
    keys = {"access_key": "tests-access", "secret_key": "tests-secret"}
    credentials = [{"accessKey": keys["access_key"], "secretKey": keys["secret_key"]}]
    identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    for _ in range(3):  # a port that was free may be taken before the server gets to it
        server, endpoint = _started_seaweed(folder)
        if _made_bucket(server, endpoint, keys):
            break
    else:
        raise RuntimeError(f"SeaweedFS did not start: {(folder / 'log').read_text()[-2000:]}")
    yield "s3://safelight-tests/tests?" + urlencode({"endpoint": endpoint, "region": "us-east-1", **keys})
    server.kill()  # asked politely it takes a quarter of a minute
    server.wait(20)


def _started_seaweed(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    parts = ("master", "volume", "filer", "s3")
    ports = _free_ports(*(f"{part}.port{kind}" for part in parts for kind in ("", ".grpc")))
    arguments = [f"-{name}={port}" for name, port in ports.items()]
    options = {
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": folder,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "master.volumePreallocate": "false",
        "volume.max": 100,
        "volume.preStopSeconds": 0,
        "filer.localSocket": folder / "filer",
        "s3.config": folder / "s3.json",
        "s3.localSocket": folder / "s3",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    arguments += [f"-{name}={value}" for name, value in options.items()]
    weed = Path(sys.executable).with_name("weed")
    with (folder / "log").open("wb") as log:
        command = [str(weed), "-logtostderr=true", "server", "-filer", "-s3", *arguments]
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env={**os.environ, "HOME": str(folder)})
    return server, f"http://127.0.0.1:{ports['s3.port']}"


def _made_bucket(server: subprocess.Popen[bytes], endpoint: str, keys: dict[str, str]) -> bool:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys["access_key"],
        aws_secret_access_key=keys["secret_key"],
        config=Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}),
    )
    deadline = time.monotonic() + 30
    with closing(client):
        while server.poll() is None and time.monotonic() < deadline:
            try:
                if "safelight-tests" not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                    client.create_bucket(Bucket="safelight-tests")
                client.put_object(Bucket="safelight-tests", Key="ready", Body=b"1")
                client.delete_object(Bucket="safelight-tests", Key="ready")
                return True
            except (BotoCoreError, ClientError):
                time.sleep(0.1)
    server.kill()
    server.wait()
    return False


def _free_ports(*names: str) -> dict[str, int]:
    """A different free loopback port for each name."""
    with ExitStack() as held:
        servers = {name: held.enter_context(socket.create_server(("127.0.0.1", 0))) for name in names}
        return {name: server.getsockname()[1] for name, server in servers.items()}
