"""A Valkey that is killed, forgets, is held up, or is cut off in the middle of a word: no run is lost, none doubled."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp
import pytest

from pipeline.core import Core
from pipeline.errors import RecordsUnavailable, RunNotFound
from pipeline.model import File, Grant, Intake, Run, new_id
from pipeline.scripting import PATIENCE
from pipeline.settings import Settings
from tests.api.test_serve import free_port, until_ready
from tests.faults.ground import (
    KEY,
    Program,
    Server,
    assert_nothing_waits,
    assert_outputs,
    assert_told_once,
    each_ended_once,
    every_event,
    every_run,
    until_over,
    web,
    worker,
)
from tests.faults.lines import SIDES, Line, Side, Wanted, Words, line_to
from tests.workers.conftest import once
from tests.workers.test_main import SLOW, noisy
from workers.queue import LEASE
from workers.turn import turn_script

pytestmark = pytest.mark.faults

LAST_SECOND = 1.0
"""Seconds of what was acknowledged that a crash may cost with `appendfsync everysec`, as docs/operations.md says."""


@pytest.fixture
def settings(settings: Settings, server: Server) -> Settings:
    return settings.model_copy(update={"redis_url": server.url})


@pytest.fixture
async def core(core: Core) -> Core:
    await core.flows.put("slow", SLOW)
    return core


@pytest.fixture
async def line(server: Server) -> AsyncIterator[Line]:
    async with line_to(str(server.socket)) as line:
        yield line


# Load


@dataclass
class Ledger:
    """What was asked for: acknowledged runs with the time of the answer, and how often a trigger was refused."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    keys: int = 0

    def before(self, time: float) -> set[str]:
        return {id for id, at in self.acknowledged.items() if at < time}


class Load:
    """Asks for runs all the while, several at a time, until it is told to stop."""

    def __init__(self, ask: Callable[[Ledger], Awaitable[None]], askers: int, pause: float) -> None:
        self.ledger = Ledger()
        self._ask, self._askers, self._pause = ask, askers, pause
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Load:
        self._asking = [asyncio.create_task(self._go_on()) for _ in range(self._askers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        await asyncio.gather(*self._asking)

    async def _go_on(self) -> None:
        while not self._stopping.is_set():
            await self._ask(self.ledger)
            await asyncio.sleep(self._pause)


def over_http(session: aiohttp.ClientSession, photo: File) -> Callable[[Ledger], Awaitable[None]]:
    """A client that sends the same request until it is answered, as Retry-After and Idempotency-Key have it."""

    async def ask(ledger: Ledger) -> None:
        body = {"inputs": {"photo": {"file": photo.id}}}
        ledger.keys += 1
        key = {"Idempotency-Key": new_id()}
        async with asyncio.timeout(30):
            while True:
                async with session.post("/v1/flows/small/runs", json=body, headers=key) as answer:
                    told = await answer.json(content_type=None)
                    if answer.status in (200, 202):
                        ledger.acknowledged[told["id"]] = asyncio.get_running_loop().time()
                        return
                    # The second one is what a request is told whose twin is still waiting for the server.
                    refusal = (answer.status, told["code"])
                    assert refusal in {(503, "RECORDS_UNAVAILABLE"), (409, "IDEMPOTENCY_IN_PROGRESS")}, told
                    ledger.refused += 1
                    await asyncio.sleep(int(answer.headers["Retry-After"]))

    return ask


def by_core(core: Core, grant: Grant, photo: File) -> Callable[[Ledger], Awaitable[None]]:
    async def ask(ledger: Ledger) -> None:
        try:
            run = await core.runs.start(grant, "small", {"photo": [photo.id]})
        except RecordsUnavailable as refusal:
            assert refusal.retry_after
            ledger.refused += 1
        else:
            ledger.acknowledged[run.id] = asyncio.get_running_loop().time()

    return ask


async def until_completed(core: Core, number: int) -> None:
    async with asyncio.timeout(60):
        while (await core.records.runs.counts("demo"))["completed"] < number:
            await asyncio.sleep(0.05)


# Killed


async def test_runs_asked_for_while_valkey_is_killed_end_once(
    core: Core, settings: Settings, server: Server, photo: File
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(worker(settings)) for _ in range(2)]
        programs.append(await stack.enter_async_context(web(settings, port)))
        await until_ready(base)
        headers = {"Authorization": f"Bearer {KEY}"}
        session = await stack.enter_async_context(aiohttp.ClientSession(base, headers=headers))
        async with Load(over_http(session, photo), askers=6, pause=0.2) as load:
            await until_completed(core, 20)
            for away in (0.2, 1.5, PATIENCE + 1.5):
                server.kill()
                await asyncio.sleep(away)
                await server.start()
                before = (await core.records.runs.counts("demo"))["completed"]
                await until_completed(core, before + 20)
        await until_over(core)
        assert [program.alive for program in programs] == [True] * 3
        runs = await each_ended_once(core, load.ledger.acknowledged)
        assert load.ledger.refused > 0 and len(load.ledger.acknowledged) == load.ledger.keys == len(runs)
        for program in programs:
            await program.stop()
    assert list((settings.data_dir / "tmp").glob("run-*")) == []


WORDS = {
    "claims its key": lambda words: len(words) == 9 and words[3].startswith(b"answer:"),
    "is put on record": lambda words: any(word.startswith(b'{"id":') for word in words[3:]) and b"small" in words,
    "gets its answer kept": lambda words: words[3].startswith(b"answer:") and words[-1].startswith(b'{"id":'),
}
"""What of a trigger passes between web and server, by what it does."""


async def test_a_trigger_at_whose_every_word_valkey_is_killed_starts_one_run(
    core: Core, settings: Settings, server: Server, line: Line, photo: File
) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(worker(settings))
        await stack.enter_async_context(web(settings.model_copy(update={"redis_url": line.url}), port))
        await until_ready(base)
        headers = {"Authorization": f"Bearer {KEY}"}
        session = await stack.enter_async_context(aiohttp.ClientSession(base, headers=headers))
        ledger, asked = Ledger(), list[asyncio.Task[None]]()
        for word in WORDS.values():
            for side in SIDES:
                line.cut.clear()
                line.cut_at(side, killing(server, word))
                asked.append(asyncio.create_task(over_http(session, photo)(ledger)))
                await asyncio.wait_for(line.cut.wait(), 10)
                await asyncio.sleep(1.5)  # longer than a command is tried
                await server.start()
        await asyncio.gather(*asked)
        await until_over(core)
        runs = await each_ended_once(core, ledger.acknowledged)
        assert len(runs) == len(ledger.acknowledged) == ledger.keys == len(WORDS) * len(SIDES)


def killing(server: Server, word: Callable[[Words], bool]) -> Wanted:
    """Kill the server where the line is cut."""

    async def wanted(words: Words, _: bytes) -> bool:
        found = words[0] == b"EVALSHA" and word(words)
        if found:
            server.kill()
        return found

    return wanted


async def test_a_power_cut_costs_the_last_second_and_nothing_else(
    core: Core, settings: Settings, server: Server, grant: Grant, photo: File
) -> None:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(worker(settings)) for _ in range(2)]
        acknowledged: dict[str, float] = {}
        lost: set[str] = set()
        for _ in range(3):
            async with Load(by_core(core, grant, photo), askers=4, pause=0.05) as load:
                done = (await core.records.runs.counts("demo"))["completed"]
                await until_completed(core, done + 30)
                size = server.written()
                on_disk = loop.time()
                await asyncio.sleep(LAST_SECOND)
                server.kill()
                server.forget_beyond(size)
            await server.start()
            acknowledged |= load.ledger.acknowledged
            await until_over(core)
            known = {run.id for run in await every_run(core)}
            lost |= load.ledger.acknowledged.keys() - known
            assert load.ledger.before(on_disk) <= known
            await assert_begun_once(core, grant, photo)
        assert lost
        runs = await every_run(core)
        assert {run.status for run in runs} == {"completed"}
        assert_told_once(await every_event(core), runs)
        await assert_outputs(core, runs, spared=lost)
        await assert_nothing_waits(core.redis)
        for id in lost:
            with pytest.raises(RunNotFound):
                await core.runs.get(grant, id)
        assert await core.records.letters.count("demo") == 0
        for program in programs:
            await program.stop()


async def assert_begun_once(core: Core, grant: Grant, photo: File) -> None:
    """What is asked for from now on is taken by a worker that keeps it."""
    runs = [await core.runs.start(grant, "small", {"photo": [photo.id]}) for _ in range(5)]
    await until_over(core)
    assert [await core.records.queues.deaths(f"run:{run.id}:1") for run in runs] == [[]] * len(runs)


# Held up


async def test_a_valkey_that_is_held_up_for_ten_seconds_doubles_nothing(
    core: Core, settings: Settings, server: Server, grant: Grant, photo: File
) -> None:
    noise = await core.uploads.accept(grant, Intake(name="noise.jpg"), once(noisy(1500, 1000)))
    async with AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(worker(settings)) for _ in range(2)]
        async with Load(by_core(core, grant, photo), askers=4, pause=0.2) as load:
            await until_completed(core, 20)
            long = [await core.runs.start(grant, "slow", {"photo": [noise.id]}, {"effort": 2}) for _ in programs]
            await until_all_run(core, long)
            server.send(signal.SIGSTOP)
            await asyncio.sleep(10)
            server.send(signal.SIGCONT)
            await until_completed(core, len(load.ledger.acknowledged) + 20)
        await until_over(core)
        assert all(program.alive for program in programs)
        await each_ended_once(core, {*load.ledger.acknowledged, *(run.id for run in long)})
        assert load.ledger.refused > 0 and await core.records.queues.lost() == 0
        for program in programs:
            assert not [line for line in await program.stop() if line["event"] == "claim_lost"]


async def until_all_run(core: Core, runs: list[Run]) -> None:
    async with asyncio.timeout(30):
        while {(await core.records.runs.get(run.id)).status for run in runs} != {"running"}:
            await asyncio.sleep(0.02)


# Cut off


@pytest.fixture
async def lone(core: Core, settings: Settings, line: Line, grant: Grant, photo: File) -> AsyncIterator[Program]:
    """A worker at the end of the line that has done a run, so that the server knows its scripts."""
    async with worker(settings.model_copy(update={"redis_url": line.url})) as lone:
        first = await core.runs.start(grant, "small", {"photo": [photo.id]})
        assert (await core.runs.wait(grant, first.id, 30)).status == "completed"
        yield lone


TURN = (b"EVALSHA", hashlib.sha1(turn_script("safelight:").encode()).hexdigest().encode())


def is_turn(words: Words) -> bool:
    return tuple(words[:2]) == TURN


def is_step(words: Words, run: str, word: bytes) -> bool:
    """Whether it is the step of the run that alone says this word."""
    return words[0] == b"EVALSHA" and run.encode() in words and any(word in one for one in words)


@dataclass(frozen=True)
class Moment:
    """What passes over the line when the worker is about to do something with the job of a run, or has done it."""

    core: Core
    run: str

    async def handing(self, words: Words, answer: bytes) -> bool:
        return words[0] == b"BLPOP" and self.run.encode() in answer

    async def claim(self, words: Words, answer: bytes) -> bool:
        job = f"run:{self.run}:1"
        if not is_turn(words) or answer:
            return is_turn(words) and job.encode() in answer
        if await self.core.redis.zscore("safelight:queue:default", job) is None:
            return False
        await self.core.records.queues.resume("default")  # so that this very turn would take it
        return True

    async def beginning(self, words: Words, _: bytes) -> bool:
        return is_step(words, self.run, b"WORKER_LOST")

    async def commit(self, words: Words, _: bytes) -> bool:
        return is_step(words, self.run, b'"sha256"')

    async def finish(self, words: Words, _: bytes) -> bool:
        return is_turn(words) and f"run:{self.run}:1".encode() in words[-1] and b'"done"' in words[-1]


MOMENTS = ("claim", "beginning", "commit", "finish")


@pytest.mark.parametrize(
    ("moment", "side"), [("handing", "after"), *((moment, side) for moment in MOMENTS for side in SIDES)]
)
async def test_a_line_cut_in_the_middle_of_a_word_costs_and_doubles_nothing(
    core: Core, lone: Program, line: Line, grant: Grant, photo: File, moment: str, side: Side
) -> None:
    id = new_id()
    if moment == "claim":  # while the queue is paused the job waits in it, and is handed to nobody
        await core.records.queues.pause("default")
    line.cut_at(side, getattr(Moment(core, id), moment))
    await core.runs.start(grant, "small", {"photo": [photo.id]}, id=id)
    if side == "after":
        await core.records.queues.resume("default")
    done = await core.runs.wait(grant, id, LEASE - 1)
    await asyncio.wait_for(line.cut.wait(), LEASE - 1)
    assert lone.alive
    assert done.status == "completed" and [one.error for one in done.tries] == [None]
    assert [event.type for event in await every_event(core, id)].count("run.started") == 1
    assert len(await each_ended_once(core, {id})) == 2
    assert await core.records.queues.deaths(f"run:{id}:1") == [] and await core.records.queues.lost() == 0
    await lone.stop()
