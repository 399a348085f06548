"""One large file: as the body, in a form, and over tus."""

from __future__ import annotations

import asyncio
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench.ingest.servers import MEMORY, TUS, Server, serving
from bench.results import Result

SIZE = 2**30
ROUNDS = 5
FIELD = ("ours", "nginx", "aiohttp", "ours_tus", "tus_server", "tuspyserver")
BOUNDARY = "safelight-benchmark"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="large.bin"\r\n'
    "Content-Type: application/octet-stream\r\n\r\n"
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
Times = dict[str, list[float]]


async def big_vs_nginx() -> AsyncIterator[Result]:
    """Seconds for one file of 1 GiB; a ratio over 1 is faster than the peer."""
    times = await _times()
    ours = times["ours"]
    yield _row("ingest.big_vs_nginx", ours, times["nginx"], "nginx PUT")
    yield _row("ingest.multipart_vs_nginx", times["ours_form"], times["nginx"], "nginx PUT")
    yield _row("ingest.big_vs_aiohttp", ours, times["aiohttp"], "aiohttp, iter_chunked and plain writes")
    for peer in ("tus_server", "tuspyserver"):
        if peer in times:
            yield _row(f"ingest.big_tus_vs_{peer}", times["ours_tus"], times[peer], peer)


def _row(name: str, ours: list[float], theirs: list[float], versus: str) -> Result:
    ratio = statistics.median(their / our for our, their in zip(ours, theirs, strict=True))
    return Result(name, statistics.median(ours), "s", versus, ratio, len(ours))


async def _times() -> Times:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        source = Path(folder) / "source"
        source.write_bytes(bytes(range(256)) * (SIZE // 256))
        async with serving(*FIELD) as servers:
            times: Times = {name: [] for server in servers for name in _ways(server)}
            for turn in range(ROUNDS + 1):
                for server in servers[turn % 2 :] + servers[: turn % 2]:
                    for name in _ways(server):
                        seconds = await asyncio.to_thread(_sent, server, name, source, turn)
                        server.emptied()
                        if turn:  # the first round warms everybody up
                            times[name].append(seconds)
            return times


def _ways(server: Server) -> tuple[str, ...]:
    return ("ours", "ours_form") if server.name == "ours" else (server.name,)


def _sent(server: Server, way: str, source: Path, number: int) -> float:
    began = time.perf_counter()
    if server.path in ("/tus", "/files", "/files/"):
        creation = {**server.headers, "Upload-Length": str(SIZE)}
        location = _asked(server, "POST", server.path, creation)["location"]
        path = "/" + location.split("://")[-1].split("/", 1)[1]
        patch = {**server.headers, **TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        _asked(server, "PATCH", path, patch, source)
    elif way == "ours_form":
        form = {**server.headers, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        _asked(server, "POST", "/v1/files", form, source, HEAD, TAIL)
    else:
        _asked(server, server.verb, server.path.format(n=f"large-{number}"), server.headers, source)
    return time.perf_counter() - began


def _asked(
    server: Server,
    verb: str,
    path: str,
    headers: Mapping[str, str],
    source: Path | None = None,
    head: bytes = b"",
    tail: bytes = b"",
) -> dict[str, str]:
    """One request over one connection, the file by sendfile(2); the headers of its answer."""
    length = len(head) + (source.stat().st_size if source else 0) + len(tail)
    told = {"Host": "127.0.0.1", "Connection": "close", "Content-Length": str(length), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    with socket.create_connection(("127.0.0.1", server.port), 120) as line:
        line.sendall(f"{verb} {path} HTTP/1.1\r\n{lines}\r\n".encode() + head)
        if source:
            with source.open("rb") as opened:
                line.sendfile(opened)
        line.sendall(tail)
        answer = b""
        while b"\r\n\r\n" not in answer and (piece := line.recv(65536)):
            answer += piece
    status, *rest = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    assert status.split()[1].startswith("2"), (server.name, answer[:300])
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
