"""Many small files from many connections at once, sent by wrk."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import statistics
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from bench.ingest.servers import Server, serving
from bench.results import Result

SIZE = 50_000
CONNECTIONS, SECONDS = 32, 4
ROUNDS = 5
FIELD = ("ours", "nginx", "aiohttp", "ours_tus", "ours_uploadcare", "tus_server", "tuspyserver")
SCRIPT = """
local body, n = %(before)s .. string.rep('x', %(size)d) .. %(behind)s, 0
local headers = {%(headers)s}
request = function()
  n = n + 1
  return wrk.format('%(verb)s', (string.gsub('%(path)s', '{n}', tostring(n))), headers, body)
end
"""
RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
TUS = {"Content-Type": "application/offset+octet-stream", "Upload-Length": str(SIZE)}
Rates = dict[str, list[float]]


async def small_vs_nginx() -> AsyncIterator[Result]:
    """Files of 50 KB a second; a ratio over 1 is faster than the peer."""
    rates = await _rates()
    yield _row("ingest.small_vs_nginx", rates["ours"], rates["nginx"], "nginx PUT")
    yield _row("ingest.small_vs_aiohttp", rates["ours"], rates["aiohttp"], "aiohttp, iter_chunked and plain writes")
    yield _row("ingest.uploadcare_vs_native", rates["ours_uploadcare"], rates["ours"], "our own API")
    for peer in ("tus_server", "tuspyserver"):
        if peer in rates:
            yield _row(f"ingest.tus_vs_{peer}", rates["ours_tus"], rates[peer], peer)


def _row(name: str, ours: list[float], theirs: list[float], versus: str) -> Result:
    ratio = statistics.median(our / their for our, their in zip(ours, theirs, strict=True))
    return Result(name, statistics.median(ours), "files/s", versus, ratio, len(ours))


async def _rates() -> Rates:
    assert shutil.which("wrk"), "wrk is needed: apt-get install wrk"
    async with serving(*FIELD) as servers:
        rates: Rates = {server.name: [] for server in servers}
        for turn in range(ROUNDS + 1):
            for server in servers[turn % 2 :] + servers[: turn % 2]:
                rate = await _rate(server)
                server.emptied()
                if turn:  # the first round warms everybody up
                    rates[server.name].append(rate)
        return rates


async def _rate(server: Server) -> float:
    headers = {**server.headers, **(TUS if "Tus-Resumable" in server.headers else {})}
    told = ", ".join(f"['{name}'] = '{value}'" for name, value in headers.items())
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "put.lua"
        before, behind = (json.dumps(part) for part in server.around)
        said = {"size": SIZE, "headers": told, "before": before, "behind": behind}
        script.write_text(SCRIPT % {**said, "verb": server.verb, "path": server.path})
        program = await asyncio.create_subprocess_exec(
            "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(script), f"http://127.0.0.1:{server.port}",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        counted = (await program.communicate())[0].decode()
    assert "Non-2xx" not in counted, (server.name, counted)
    return float(RATE.search(counted)[1])  # type: ignore[index]
