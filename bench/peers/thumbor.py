"""The jobs asked of a thumbor server by URL; what is measured is the server's CPU, not the client's.

Called with the Python that has thumbor before the words every peer is called with.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench.measured import cpu_seconds, peak_mib
from bench.peers.vips import SIZES
from pipeline.imaging.encode import QUALITIES

JOBS = {"thumbnail": (300,), "sizes": SIZES}
PATIENCE = 30.0
CONFIG = """
LOADER = "thumbor.loaders.file_loader"
FILE_LOADER_ROOT_PATH = {folder!r}
STORAGE = "thumbor.storages.no_storage"
RESULT_STORAGE = {results}
ALLOW_UNSAFE_URL = True
MAX_PIXELS = 200_000_000
WEBP_QUALITY = {quality}
"""
CACHED = """
RESULT_STORAGE_STORES_UNSAFE = True
RESULT_STORAGE_EXPIRATION_SECONDS = 0
RESULT_STORAGE_FILE_STORAGE_ROOT_PATH = {results!r}
"""


@contextmanager
def serving(python: str, folder: Path, results: Path | None = None) -> Iterator[tuple[int, str]]:
    """The pid and the address of a server over the pictures in `folder`, which keeps what it made in `results`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        kept = None if results is None else "'thumbor.result_storages.file_storage'"
        config.write(CONFIG.format(folder=str(folder), quality=QUALITIES["webp"], results=kept))
        if results is not None:
            config.write(CACHED.format(results=str(results)))
        config.flush()
        command = [python, "-m", "thumbor.server", "-i", "127.0.0.1", "-p", str(port), "-c", config.name, "-l", "error"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
            try:
                address = f"http://127.0.0.1:{port}"
                _await(address)
                yield server.pid, address
            finally:
                server.terminate()


def _await(address: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            urlopen(f"{address}/healthcheck", timeout=PATIENCE).close()
            return
        except URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def done(address: str, job: str, photo: Path, out: Path) -> None:
    for width in JOBS[job]:
        url = f"{address}/unsafe/{width}x0/filters:format(webp)/{photo.name}"
        with urlopen(url, timeout=PATIENCE) as answer:
            (out / f"{width}.webp").write_bytes(answer.read())


def main(python: str, job: str, photo: Path, out: Path, times: int) -> None:
    with serving(python, photo.parent.resolve()) as (pid, address):
        done(address, job, photo, out)
        cpu, wall = cpu_seconds(pid), time.perf_counter()
        for _ in range(times):
            done(address, job, photo, out)
        cpu, wall = cpu_seconds(pid) - cpu, time.perf_counter() - wall
        print(json.dumps({"cpu": cpu / times, "wall": wall / times, "peak_mib": peak_mib(pid)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
