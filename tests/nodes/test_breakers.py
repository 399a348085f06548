"""Nodes leave alone who fails outside, and call again when he is back: real servers, a real clamd's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from pipeline.breakers import Breakers, place_of
from pipeline.errors import CallFailed, CircuitOpen, ImageTimeout, SafelightError, ScannerUnavailable
from pipeline.events import EventLog
from pipeline.graph.execute import Outcome
from pipeline.imaging.sandbox import Sandbox
from pipeline.outbound import Outbound
from pipeline.records import Records
from pipeline.records.breakers import Breaker
from pipeline.settings import Settings
from tests.graph.desk import Desk, file_at
from tests.nodes.clamd import speaking
from tests.nodes.studio import corners
from tests.outside import Outside, fixed, listening
from tests.records.nouns import PREFIX, all_events
from tests.records.test_breakers import Clock

RULES = Settings(breaker_failures=3, breaker_probes=2)
ANSWERS = {"http": None, "ask": fixed(200, b'{"text": "a square"}'), "notify": fixed(204)}
"""What is of use to each type; None for the file that was sent."""


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    async with listening() as outside:
        yield outside


@pytest.fixture
def records(redis: Redis) -> Records:
    return Records(redis, PREFIX)


@pytest.fixture
async def desk(desk: Desk, records: Records) -> AsyncIterator[Desk]:
    desk.outbound, desk.private, desk.breakers = Outbound(), True, Breakers(RULES, records)
    yield desk
    await desk.outbound.close()


class Runs:
    """Runs of a flow with one node that depends on something outside."""

    def __init__(self, sandbox: Sandbox, desk: Desk, folder: Path) -> None:
        self._sandbox, self._desk, self._folder = sandbox, desk, folder
        self._number = 0
        path = folder / "in.png"
        corners(40, 20).save(path)
        self._file = file_at(path, "image/png")

    async def run(self, node: str, saved: str = "far") -> Outcome:
        self._number += 1
        self._desk.folder = self._folder / f"run-{self._number}"
        self._desk.folder.mkdir()
        save = f"out: {{type: save, from: {saved}, path: out.png}}"
        text = f"nodes:\n  photo: {{type: input}}\n  far: {{{node}}}\n  {save}"
        await self._desk.run(self._sandbox, text, {"photo": [self._file]})
        return self._desk.outcome

    async def fails(self, node: str, error: type[SafelightError] = CallFailed, times: int = 1) -> SafelightError:
        for _ in range(times):
            with pytest.raises(error) as caught:
                await self.run(node)
        assert caught.value.node == "far"
        return caught.value


@pytest.fixture
def runs(sandbox: Sandbox, desk: Desk, tmp_path: Path) -> Runs:
    return Runs(sandbox, desk, tmp_path)


async def only(records: Records) -> Breaker:
    (breaker,) = await records.breakers.list()
    return breaker


@pytest.mark.parametrize("type", ANSWERS)
async def test_who_fails_is_left_alone_and_called_again_when_he_is_back(
    type: str, runs: Runs, records: Records, redis: Redis, outside: Outside
) -> None:
    node = f'type: {type}, url: "{outside.url}/x?secret=1"'
    outside.answers["/x"] = fixed(503)
    await runs.fails(node, times=3)
    refused = await runs.fails(node, CircuitOpen, times=4)
    assert len(outside.heard) == 3, "the others never left"
    assert (refused.code, refused.retryable, refused.retry_after) == ("CIRCUIT_OPEN", True, 30)
    assert "again in 30 seconds" in refused.message
    breaker = await only(records)
    assert (breaker.type, breaker.place, breaker.state) == (type, f"127.0.0.1:{outside.port}", "open")

    async with listening() as other:
        await runs.run(f'type: http, url: "{other.url}/x"')
        assert len(other.heard) == 1, "somebody else is not left alone"

    answer = ANSWERS[type]
    outside.answers = {"/x": answer} if answer else {}
    await runs.fails(node, CircuitOpen)
    await Clock(redis).on(30)
    for _ in range(2):
        assert (await only(records)).state == "half_open"
        await runs.run(node)
    assert (await only(records)).state == "closed"
    events = await all_events(EventLog(redis, PREFIX))
    assert [event.type for event in events] == ["breaker.opened", "breaker.closed"]
    assert "secret" not in repr(events)


async def test_a_scanner_that_is_away_is_left_alone_until_it_is_back(
    runs: Runs, records: Records, redis: Redis, tmp_path: Path
) -> None:
    node = f"type: scan, socket: {tmp_path}/spoken.sock"
    await runs.fails(node, ScannerUnavailable, times=3)
    async with speaking(tmp_path):
        await runs.fails(node, CircuitOpen)
        assert (await only(records)).place == f"unix://{tmp_path}/spoken.sock"
        await Clock(redis).on(30)
        for _ in range(2):
            assert (await runs.run(node)).facts["far"]["clean"]
        assert (await only(records)).state == "closed"


async def test_a_node_that_may_be_skipped_is_skipped_at_once(runs: Runs, desk: Desk, outside: Outside) -> None:
    outside.answers["/x"] = fixed(500)
    node = f'type: notify, url: "{outside.url}/x", on_error: skip'
    for _ in range(5):
        assert len((await runs.run(node, "photo")).outputs) == 1
    assert len(outside.heard) == 3 and desk.states["far"].status == "skipped"
    assert "CIRCUIT_OPEN" in repr(desk.states["far"])


async def test_a_node_does_not_try_again_while_its_breaker_is_open(runs: Runs, outside: Outside) -> None:
    outside.answers["/x"] = fixed(502)
    await runs.fails(f'type: http, url: "{outside.url}/x", retries: 10', CircuitOpen)
    assert len(outside.heard) == 3


@pytest.mark.parametrize("status", [400, 404, 408, 429])
async def test_what_is_told_us_does_not_count(status: int, runs: Runs, records: Records, outside: Outside) -> None:
    outside.answers["/x"] = fixed(status)
    await runs.fails(f'type: http, url: "{outside.url}/x"', SafelightError, times=5)
    assert len(outside.heard) == 5 and await records.breakers.list() == []


async def test_what_is_ours_does_not_count(runs: Runs, records: Records, desk: Desk, outside: Outside) -> None:
    await runs.fails(f'type: ask, url: "{outside.url}/no-json"', SafelightError, times=5)
    desk.private = False
    await runs.fails(f'type: ask, url: "{outside.url}/x"', SafelightError, times=5)
    assert len(outside.heard) == 5 and await records.breakers.list() == []


@pytest.mark.parametrize(("limit", "error"), [("within", CallFailed), ("timeout", ImageTimeout)])
async def test_silence_counts_whoever_s_patience_ends(
    limit: str, error: type[SafelightError], runs: Runs, records: Records, outside: Outside
) -> None:
    over = asyncio.Event()

    async def silence(request: web.Request, body: bytes) -> web.StreamResponse:
        await over.wait()
        return web.Response()

    outside.answers["/x"] = silence
    await runs.fails(f'type: http, url: "{outside.url}/x", {limit}: 100ms', error, times=3)
    over.set()
    assert (await only(records)).state == "open"


async def test_a_run_that_is_stopped_says_nothing_of_who_was_called(
    runs: Runs, records: Records, outside: Outside
) -> None:
    heard, over = asyncio.Event(), asyncio.Event()

    async def silence(request: web.Request, body: bytes) -> web.StreamResponse:
        heard.set()
        await over.wait()
        return web.Response()

    outside.answers["/x"] = silence
    run = asyncio.create_task(runs.run(f'type: http, url: "{outside.url}/x"'))
    await heard.wait()
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    over.set()
    assert await records.breakers.list() == []


async def test_nobody_there_counts(runs: Runs, records: Records) -> None:
    async with listening() as gone:
        node = f'type: notify, url: "{gone.url}/x"'
    await runs.fails(node, times=3)
    assert (await only(records)).state == "open"


async def test_without_records_calls_go_out(runs: Runs, desk: Desk, outside: Outside, tmp_path: Path) -> None:
    async with aclosing(Redis.from_url(f"unix://{tmp_path}/none.sock")) as away:
        desk.breakers = Breakers(RULES, Records(away, PREFIX))
        await runs.run(f'type: http, url: "{outside.url}/x"')
        outside.answers["/x"] = fixed(500)
        await runs.fails(f'type: http, url: "{outside.url}/x"', times=4)
    assert len(outside.heard) == 5


async def test_it_can_be_turned_off(runs: Runs, desk: Desk, records: Records, redis: Redis, outside: Outside) -> None:
    desk.breakers = Breakers(Settings(breaker_failures=0), records)
    outside.answers["/x"] = fixed(500)
    await runs.fails(f'type: http, url: "{outside.url}/x"', times=7)
    assert len(outside.heard) == 7 and await redis.dbsize() == 0


async def test_who_passes_costs_one_question_and_leaves_nothing(runs: Runs, redis: Redis, outside: Outside) -> None:
    async def scripts() -> int:
        stats: Mapping[str, Any] = await redis.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval"))

    await runs.run(f'type: http, url: "{outside.url}/x"')
    before = await scripts()
    await runs.run(f'type: http, url: "{outside.url}/x"')
    assert await scripts() - before == 1
    await runs.run("type: resize, width: 10")
    assert await scripts() - before == 1
    assert await redis.dbsize() == 0


@pytest.mark.parametrize(
    ("written", "spoken", "place"),
    [
        ("https://a.example.com/x", "https://a.example.com/x", "a.example.com"),
        ("https://A.example.com:8443/", "https://A.example.com:8443/", "a.example.com:8443"),
        ("http://[::1]:81/", "http://[::1]:81/", "[::1]:81"),
        ("https://bücher.example/", "https://bücher.example/", "xn--bcher-kva.example"),
        ("https://hooks.example.com/{secrets.path}", "https://hooks.example.com/s3cret", "hooks.example.com"),
        ("https://hooks.example.com/{{secrets.path}}", "https://hooks.example.com/s3cret", "hooks.example.com"),
        ("https://u:{secrets.p}@b.example.com/", "https://u:s3cret@b.example.com/", "b.example.com"),
        ("http://", "http://", ""),
        ("http://x:99999999/", "http://x:99999999/", ""),
    ],
)
def test_whom_a_call_goes_to(written: str, spoken: str, place: str) -> None:
    assert place_of(written, spoken) == place


def test_a_host_that_is_a_secret_stays_one() -> None:
    one = place_of("https://{secrets.tenant}.example.com/", "https://s3cret.example.com/")
    other = place_of("{secrets.whole}", "https://s3cret.example.com/else")
    assert one == other != place_of("{secrets.whole}", "https://else.example.com/")
    assert one.startswith("hidden-") and "s3cret" not in one
