"""Cached answers of about 100 KB: ours from memory and from disk, nginx's from a file, thumbor's from its results."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import statistics
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

from bench.installed import python_with_thumbor
from bench.peers.thumbor import serving
from bench.photos import DEMO
from bench.results import Result
from bench.stack import running_stack

WIDTH, QUALITY = 1300, 82
CONNECTIONS, SECONDS = 16, 3
ROUNDS = 7
READY_SECONDS = 20.0
RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
NGINX = """
daemon off; worker_processes 1; pid %(folder)s/nginx.pid; error_log %(folder)s/error.log error;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;
  server { listen 127.0.0.1:%(port)s; root %(folder)s/files; }
}
"""


class Hit(NamedTuple):
    """Who answers, and where."""

    name: str
    url: str


async def hit_vs_nginx() -> AsyncIterator[Result]:
    """Answers a second for one address asked for again and again; a ratio over 1 is faster than the peer."""
    assert shutil.which("wrk"), "wrk is needed: apt-get install wrk"
    async with AsyncExitStack() as stack:
        ram, body = await stack.enter_async_context(_ours("ram"))
        disk, _ = await stack.enter_async_context(_ours("disk", SAFELIGHT_DELIVERY_CACHE="0B"))
        hits = [ram, disk, await stack.enter_async_context(_nginx(body))]
        if python := python_with_thumbor():
            hits.append(stack.enter_context(_thumbor(python, Path(stack.enter_context(tempfile.TemporaryDirectory())))))
        rates = await _rates(hits)
    yield _row("delivery.hit_vs_nginx", rates, "ram", "nginx", "nginx, sendfile")
    yield _row("delivery.hit_vs_nginx.disk", rates, "disk", "nginx", "nginx, sendfile")
    if "thumbor" in rates:
        yield _row("delivery.hit_vs_thumbor", rates, "ram", "thumbor", "thumbor, results in files")


def _row(name: str, rates: dict[str, list[float]], ours: str, theirs: str, versus: str) -> Result:
    ratio = statistics.median(one / other for one, other in zip(rates[ours], rates[theirs], strict=True))
    return Result(name, statistics.median(rates[ours]), "answers/s", versus, ratio, len(rates[ours]))


async def _rates(hits: list[Hit]) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {hit.name: [] for hit in hits}
    for turn in range(ROUNDS + 1):
        for place in range(len(hits)):
            hit = hits[(turn + place) % len(hits)]
            rate = await _rate(hit)
            if turn:  # the first round warms everybody up
                rates[hit.name].append(rate)
    return rates


async def _rate(hit: Hit) -> float:
    program = await asyncio.create_subprocess_exec(
        "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", hit.url, stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    said = (await program.communicate())[0].decode()
    assert "Non-2xx" not in said, (hit, said)
    return float(RATE.search(said)[1])  # type: ignore[index]


@asynccontextmanager
async def _ours(name: str, **environ: str) -> AsyncIterator[tuple[Hit, bytes]]:
    async with running_stack(environ=environ) as stack:
        path = f"/{await stack.stored(DEMO)}/-/format/jpeg/-/resize/{WIDTH}x/"
        async with stack.session.get(path) as answer:
            body = await answer.read()
            assert answer.status == 200, body
        yield Hit(name, stack.address + path), body


@asynccontextmanager
async def _nginx(body: bytes) -> AsyncIterator[Hit]:
    program = shutil.which("nginx")
    assert program, "nginx is needed: apt-get install nginx-light"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        files = Path(folder) / "files"
        files.mkdir()
        (files / "photo.jpg").write_bytes(body)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX % {"folder": folder, "port": port})
        server = await asyncio.create_subprocess_exec(
            program, "-c", str(config), "-p", folder, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await _listening(port)
            yield Hit("nginx", f"http://127.0.0.1:{port}/photo.jpg")
        finally:
            server.terminate()
            await server.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


@contextmanager
def _thumbor(python: str, results: Path) -> Iterator[Hit]:
    with serving(python, DEMO.parent.resolve(), results) as (_, address):
        url = f"{address}/unsafe/{WIDTH}x0/filters:format(jpeg):quality({QUALITY})/{DEMO.name}"
        urlopen(url, timeout=READY_SECONDS).close()
        yield Hit("thumbor", url)
