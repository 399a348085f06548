"""Files got from real servers by real jobs: each ends once, leaves nothing it need not, and feeds who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from pipeline.core import Core
from pipeline.downloads import Bounds
from pipeline.errors import (
    AddressRefused,
    FetchEnded,
    FetchesTooMany,
    FetchNotFound,
    FlowNotFound,
    FlowPaused,
    MetadataInvalid,
    UrlSchemeUnknown,
)
from pipeline.jobs import ERRANDS
from pipeline.model import Fetch, File, Follow, Grant, Intake, Limits, Project, Remote, Run, new_id, now
from pipeline.records import fetches as fetch_records
from pipeline.settings import Settings
from pipeline.uploads.fetching import JOB
from tests.outside import Outside, fixed, listening
from workers import fetches as module
from workers.fetches import Fetches
from workers.queue import Queues, Work, worker_pool

from .conftest import FLOW, once, picture

BODY = os.urandom(400_000)
BOUNDS = Bounds(within=20, head=2, silence=2, slowest=1)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    limits = Limits(max_file_size=1_000_000, fetches=2)
    return Settings(
        redis_url=redis_url,
        data_dir=tmp_path / "data",
        flows_dir=tmp_path / "flows",
        projects={
            "demo": Project(id="demo", allow_private_urls=True, limits=limits),
            "other": Project(id="other", allow_private_urls=True),
            "outside": Project(id="outside"),
        },
    )


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Outside]:
    async with listening() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, server: Outside) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(module, "FULL_WAIT", 0.05)
    monkeypatch.setattr(module, "PACE", 0.02)
    server.heard.clear()
    server.answers.clear()


@contextlib.asynccontextmanager
async def fetching(core: Core, lease: float = 5, grace: float = 1, **bounds: Any) -> AsyncIterator[Queues]:
    """A reader of the errands while the block runs."""
    pool = worker_pool(core.settings.redis_url)
    fetches = Fetches(core, replace(BOUNDS, **bounds))
    works = {JOB: Work(fetches.fetch, fetches.give_up)}
    reader = Queues(pool, core.settings.key_prefix, (ERRANDS,), 8, works, job_timeout=60, lease=lease)
    going = asyncio.create_task(reader.main())
    try:
        yield reader
    finally:
        await reader.stop(grace)
        await going
        await pool.aclose(close_connection_pool=True)


@pytest.fixture
async def reader(core: Core) -> AsyncIterator[Queues]:
    async with fetching(core) as reader:
        yield reader


async def fetched(core: Core, grant: Grant, url: str, intake: Intake | None = None, **more: Any) -> Fetch:
    """The fetch of this URL when it has ended."""
    begun = await core.fetching.begin(grant, url, intake or Intake(), **more)
    return await ended(core, grant, begun)


async def ended(core: Core, grant: Grant, fetch: Fetch) -> Fetch:
    done = await core.fetching.wait(grant, fetch.id, 20)
    assert done.ended_at is not None, done
    return done


async def failed(core: Core, grant: Grant, url: str, intake: Intake | None = None, **more: Any) -> str:
    """The code that the fetch of this URL ends with; nothing of it is left."""
    fetch = await fetched(core, grant, url, intake, **more)
    assert fetch.status == "error" and fetch.file is None and fetch.error is not None, fetch
    assert await nothing(core, grant)
    return fetch.error.code


async def nothing(core: Core, grant: Grant) -> bool:
    """Whether there is no file, no upload and no byte."""
    await core.cleaning.close()
    files = [path for path in core.settings.data_dir.rglob("*") if path.is_file()]
    uploads = await core.records.uploads.expired(now() + timedelta(days=9))
    return files == [] and uploads == [] and (await core.records.files.list(grant.project.id)).items == ()


async def file_of(core: Core, fetch: Fetch) -> File:
    assert fetch.status == "success" and fetch.file is not None, fetch.error
    return await core.records.files.get(fetch.file)


async def bytes_of(core: Core, file: File) -> bytes:
    return b"".join([chunk async for chunk in core.storages[file.storage].open(file.key)])


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not await holds():
            await asyncio.sleep(0.01)


class Slow:
    """An answer whose second half is sent when the test says so."""

    def __init__(self, body: bytes = BODY, length: bool = True) -> None:
        self.body = body
        self.length = length
        self.half = len(body) // 2
        self.asked = 0
        self.go = asyncio.Event()
        self.left = asyncio.Event()
        """Whether somebody hung up in the middle."""

    async def __call__(self, request: web.Request, sent: bytes) -> web.StreamResponse:
        self.asked += 1
        response = web.StreamResponse()
        if self.length:
            response.content_length = len(self.body)
        await response.prepare(request)
        await response.write(self.body[: self.half])
        while not self.go.is_set():
            if request.transport is None or request.transport.is_closing():
                self.left.set()
                return response
            await asyncio.sleep(0.01)
        await response.write(self.body[self.half :])
        return response


# A file comes


async def test_a_file_comes_in_as_any_other(core: Core, grant: Grant, server: Outside, reader: Queues) -> None:
    body = picture(320, 200)
    server.answers["/a/sun set.jpg"] = fixed(200, body, Content_Type="text/html")
    url = f"{server.url}/a/sun%20set.jpg?secret=x"
    intake = Intake(metadata={"k": "v"}, tags=("one",), folder="a/b", private=True, declared_type="video/mp4")
    fetch = await fetched(core, grant, url, intake)
    file = await file_of(core, fetch)
    assert (file.name, file.mime, file.size, file.source) == ("sun set.jpg", "image/png", len(body), url)
    assert (file.metadata, file.tags, file.folder, file.private) == ({"k": "v"}, ("one",), "a/b", True)
    assert file.image is not None and (file.image.width, file.image.height) == (320, 200)
    assert file.sha256 == hashlib.sha256(body).hexdigest() and await bytes_of(core, file) == body
    assert file.stored_at is not None
    assert (fetch.done, fetch.total, fetch.tries, fetch.error) == (len(body), len(body), 1, None)
    events = await core.events.read("demo", fetch.id)
    assert [event.type for event in events] == ["fetch.started", "fetch.completed"]
    assert events[-1].facts == {"file": file.id} and "secret" not in str(events)
    told = [event.type for event in await core.events.read("demo", file.id)]
    assert told == ["file.uploaded", "file.stored"]
    totals = await core.records.series.totals()
    assert totals["uploads", "fetch", "accepted"] == 1


@pytest.mark.parametrize(
    ("path", "header", "name", "kept"),
    [
        ("/dir/photo.png", "", None, "photo.png"),
        ("/dir/", "", None, "file.txt"),
        ("/dir/a", 'attachment; filename="b.txt"', None, "b.txt"),
        ("/dir/a", 'attachment; filename="../../x/c.txt"', None, "c.txt"),
        ("/dir/a", 'attachment; filename="b.txt"', "own name.txt", "own name.txt"),
        ("/dir/%2e%2e%2f%2e%2e%2fpasswd", "", None, "passwd"),
    ],
)
async def test_its_name(
    path: str, header: str, name: str | None, kept: str, core: Core, grant: Grant, server: Outside, reader: Queues
) -> None:
    answer = fixed(200, b"some words", **({"Content-Disposition": header} if header else {}))
    for at in (path, "/dir/../../passwd", "/passwd"):
        server.answers[at] = answer
    fetch = await fetched(core, grant, server.url + path, name=name)
    assert (await file_of(core, fetch)).name == kept


async def test_it_tells_how_far_it_is(core: Core, grant: Grant, server: Outside, reader: Queues) -> None:
    known, unknown = Slow(), Slow(length=False)
    server.answers |= {"/known": known, "/unknown": unknown}
    for path, slow, total in (("/known", known, len(BODY)), ("/unknown", unknown, None)):
        begun = await core.fetching.begin(grant, server.url + path, Intake())

        async def is_half(begun: Fetch = begun, slow: Slow = slow) -> bool:
            return (await core.fetching.get(grant, begun.id)).done == slow.half

        assert begun.status == "waiting"
        await until(is_half)
        fetch = await core.fetching.get(grant, begun.id)
        assert (fetch.status, fetch.total, fetch.file) == ("progress", total, None)
        slow.go.set()
        assert (await file_of(core, await ended(core, grant, begun))).size == len(BODY)


async def test_it_runs_the_flow_that_follows(core: Core, grant: Grant, server: Outside, reader: Queues) -> None:
    server.answers["/photo"] = fixed(200, picture())
    intake = Intake(follow=Follow(flow="small", params={"width": 20}))
    fetch = await fetched(core, grant, f"{server.url}/photo", intake)
    file = await file_of(core, fetch)
    assert file.follow is not None
    run = await core.runs.get(grant, file.follow)
    assert (run.status, run.inputs, run.params) == ("queued", {"photo": (file.id,)}, {"width": 20})


# What is refused at once, and what the fetch tells


async def test_what_is_wrong_with_the_asking_is_told_at_once(core: Core, grant: Grant, settings: Settings) -> None:
    outside = Grant(project=settings.projects["outside"])
    for who, url, intake, kind in (
        (grant, "ftp://example.com/", Intake(), UrlSchemeUnknown),
        (grant, "http://169.254.169.254/", Intake(), AddressRefused),
        (outside, "http://127.0.0.1/", Intake(), AddressRefused),
        (grant, "http://127.0.0.1:1/", Intake(follow=Follow(flow="none")), FlowNotFound),
        (grant, "http://127.0.0.1:1/", Intake(metadata={"k" * 500: "v"}), MetadataInvalid),
    ):
        with pytest.raises(kind):
            await core.fetching.begin(who, url, intake)
    assert await core.redis.keys("safelight:fetch*") == []


@pytest.mark.parametrize(
    ("answer", "intake", "code"),
    [
        (fixed(404), Intake(), "SOURCE_NOT_FOUND"),
        (fixed(403), Intake(), "SOURCE_REJECTED"),
        (fixed(200), Intake(), "FILE_EMPTY"),
        (fixed(200, b"words", Content_Encoding="br"), Intake(), "SOURCE_ENCODED"),
        (fixed(200, b"words"), Intake(types=("image/*",)), "TYPE_NOT_ALLOWED"),
        (fixed(200, bytes(2000)), Intake(max_size=1000), "FILE_TOO_LARGE"),
        (fixed(200, b"\x89PNG\r\n\x1a\n" + b"x" * 100), Intake(), "IMAGE_UNREADABLE"),
        (fixed(302, Location="//169.254.169.254/"), Intake(), "ADDRESS_REFUSED"),
        (fixed(302, Location="/"), Intake(), "REDIRECTS_TOO_MANY"),
    ],
)
async def test_what_ends_it(
    answer: Any, intake: Intake, code: str, core: Core, grant: Grant, server: Outside, reader: Queues
) -> None:
    server.answers["/"] = answer
    assert await failed(core, grant, f"{server.url}/", intake) == code
    totals = await core.records.series.totals()
    assert totals["uploads", "fetch", code] == 1


async def test_what_is_announced_too_large_is_not_read(
    core: Core, grant: Grant, server: Outside, reader: Queues
) -> None:
    slow = server.answers["/huge"] = Slow(bytes(1_000_001))
    assert await failed(core, grant, f"{server.url}/huge") == "FILE_TOO_LARGE"
    await asyncio.wait_for(slow.left.wait(), 5)


async def test_what_does_not_end_is_cut_at_the_limit(core: Core, grant: Grant, server: Outside, reader: Queues) -> None:
    sent = 0

    async def endless(request: web.Request, body: bytes) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(65536))
            sent += 65536

    server.answers["/endless"] = endless
    assert await failed(core, grant, f"{server.url}/endless") == "FILE_TOO_LARGE"
    assert 1_000_000 <= sent < 10_000_000


async def test_hosts_that_do_not_exist(core: Core, grant: Grant, reader: Queues) -> None:
    assert await failed(core, grant, "http://does-not-exist.invalid/") == "HOST_NOT_FOUND"


async def test_a_fault_that_passes_is_tried_again(core: Core, grant: Grant, server: Outside, reader: Queues) -> None:
    answers = [fixed(500), fixed(503, Retry_After="0"), fixed(200, b"at last")]

    async def better(request: web.Request, body: bytes) -> web.StreamResponse:
        return await answers.pop(0)(request, body)

    server.answers["/"] = better
    fetch = await fetched(core, grant, f"{server.url}/")
    assert (await file_of(core, fetch)).size == 7 and fetch.tries == 3


async def test_one_that_does_not_is_tried_a_few_times(
    core: Core, grant: Grant, server: Outside, reader: Queues
) -> None:
    server.answers["/"] = fixed(500)
    assert await failed(core, grant, f"{server.url}/") == "SOURCE_FAILED"
    assert len(server.heard) == module.TRIES
    async with listening() as gone:
        url = gone.url
    assert await failed(core, grant, url) == "SOURCE_UNREACHABLE"


async def test_a_body_that_breaks_off_leaves_nothing_between_tries(
    core: Core, grant: Grant, server: Outside, reader: Queues
) -> None:
    tries = 0

    async def cut(request: web.Request, body: bytes) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        if tries == 3:
            return web.Response(body=BODY)
        response = web.StreamResponse()
        response.content_length = len(BODY)
        await response.prepare(request)
        await response.write(BODY[:200_000])
        assert request.transport is not None
        request.transport.close()
        return response

    server.answers["/"] = cut
    file = await file_of(core, await fetched(core, grant, f"{server.url}/"))
    assert await bytes_of(core, file) == BODY
    await core.cleaning.close()
    found = {path.name for path in core.settings.data_dir.rglob("*") if path.is_file()}
    assert found == {file.name, f"{file.name}.json"}


@pytest.mark.parametrize(
    ("bounds", "code"),
    [
        ({"silence": 0.2}, "SOURCE_SILENT"),
        ({"within": 0.2}, "FETCH_TIMEOUT"),
    ],
)
async def test_time_runs_out(bounds: Any, code: str, core: Core, grant: Grant, server: Outside) -> None:
    server.answers["/"] = Slow()
    async with fetching(core, **bounds):
        assert await failed(core, grant, f"{server.url}/") == code


# Cancelling, taking over, forgetting


async def test_one_that_is_cancelled_leaves_nothing(core: Core, grant: Grant, server: Outside, reader: Queues) -> None:
    slow = server.answers["/"] = Slow()
    begun = await core.fetching.begin(grant, f"{server.url}/", Intake(), check=True)

    async def is_half() -> bool:
        return (await core.fetching.get(grant, begun.id)).done == slow.half

    await until(is_half)
    assert (await core.fetching.cancel(grant, begun.id)).status == "cancelled"
    await asyncio.wait_for(slow.left.wait(), 5)

    async def is_clean() -> bool:
        return not reader.tasks and await nothing(core, grant)

    await until(is_clean)
    assert (await core.fetching.cancel(grant, begun.id)).status == "cancelled"  # a second time is fine
    fetch = await core.fetching.get(grant, begun.id)
    assert fetch.error is not None and fetch.error.code == "FETCH_CANCELLED"
    assert await core.redis.keys("safelight:fetched:*") == []
    again = await core.fetching.begin(grant, f"{server.url}/", Intake(), check=True)
    assert again.id != begun.id
    slow.go.set()
    assert (await file_of(core, await ended(core, grant, again))).size == len(BODY)
    with pytest.raises(FetchEnded):
        await core.fetching.cancel(grant, again.id)


async def test_one_that_waits_can_be_cancelled(core: Core, grant: Grant, server: Outside) -> None:
    begun = await core.fetching.begin(grant, f"{server.url}/never", Intake())
    await core.fetching.cancel(grant, begun.id)
    after = await core.fetching.begin(grant, f"{server.url}/404", Intake())
    server.answers["/404"] = fixed(404)
    async with fetching(core):
        await ended(core, grant, after)
    assert [heard.path for heard in server.heard] == ["/404"]


async def test_a_stopped_worker_hands_it_back(core: Core, grant: Grant, server: Outside) -> None:
    slow = server.answers["/"] = Slow()
    async with fetching(core, grace=0):
        begun = await core.fetching.begin(grant, f"{server.url}/", Intake())

        async def is_half() -> bool:
            return (await core.fetching.get(grant, begun.id)).done == slow.half

        await until(is_half)
    left = await core.fetching.get(grant, begun.id)
    assert (left.status, left.done, left.tries) == ("waiting", 0, 0)
    assert await nothing(core, grant)
    slow.go.set()
    async with fetching(core):
        fetch = await ended(core, grant, begun)
    assert await bytes_of(core, await file_of(core, fetch)) == BODY and fetch.tries == 1


async def test_who_is_late_changes_nothing(core: Core, grant: Grant, server: Outside) -> None:
    """A worker that was believed dead wakes in the middle of what another one has taken over."""
    slow, quick = Slow(), fixed(200, b"the other half")
    server.answers["/"] = slow
    late, fetches = Fetches(core, BOUNDS), Fetches(core, BOUNDS)
    begun = await core.fetching.begin(grant, f"{server.url}/", Intake())
    going = asyncio.create_task(late.fetch({}, begun.id))

    async def is_half() -> bool:
        return (await core.fetching.get(grant, begun.id)).done == slow.half

    await until(is_half)
    server.answers["/"] = quick
    await fetches.fetch({}, begun.id)
    slow.go.set()
    await asyncio.wait_for(going, 20)
    fetch = await core.fetching.get(grant, begun.id)
    file = await file_of(core, fetch)
    assert await bytes_of(core, file) == b"the other half"
    assert [one.id for one in (await core.records.files.list("demo")).items] == [file.id]
    await core.cleaning.close()
    found = {path.name for path in core.settings.data_dir.rglob("*") if path.is_file()}
    assert found == {file.name, f"{file.name}.json"}


async def test_a_file_whose_worker_died_before_it_told_is_found(core: Core, grant: Grant, server: Outside) -> None:
    server.answers["/"] = fixed(200, b"once only")
    begun = await core.fetching.begin(grant, f"{server.url}/", Intake())
    first = await core.records.fetches.begin(begun.id, "first", 2, now())
    assert first is not None
    file = await core.uploads.accept(grant, Intake(), once(b"once only"))
    await core.records.fetches.mark(begun.id, "first", 9, 9, file.id)
    await Fetches(core, BOUNDS).fetch({}, begun.id)
    fetch = await core.fetching.get(grant, begun.id)
    assert (fetch.status, fetch.file, server.heard) == ("success", file.id, [])


async def test_one_that_costs_its_workers_is_given_up(core: Core, grant: Grant, server: Outside) -> None:
    begun = await core.fetching.begin(grant, f"{server.url}/", Intake())
    upload = await core.uploads.begin(grant, Intake())
    await core.uploads.append(grant, upload.id, 0, once(b"half of it"))
    await core.records.fetches.begin(begun.id, "first", 2, now())
    await core.records.fetches.mark(begun.id, "first", 9, 9, upload.id)
    await Fetches(core).give_up(begun.id, [None] * 3)  # type: ignore[list-item]
    fetch = await core.fetching.get(grant, begun.id)
    assert fetch.status == "error" and fetch.error is not None and fetch.error.code == "FETCH_GIVEN_UP"
    assert await nothing(core, grant)


async def test_one_of_a_project_that_is_no_more(core: Core, server: Outside, reader: Queues) -> None:
    gone = Grant(project=Project(id="gone", allow_private_urls=True))
    assert await failed(core, gone, f"{server.url}/") == "PROJECT_UNKNOWN"


async def test_it_is_unknown_to_others_and_after_a_while(
    core: Core, grant: Grant, settings: Settings, server: Outside, reader: Queues, redis: Redis
) -> None:
    server.answers["/"] = fixed(404)
    fetch = await fetched(core, grant, f"{server.url}/")
    other = Grant(project=settings.projects["other"])
    for who, id in ((other, fetch.id), (grant, new_id())):
        for asked in (core.fetching.get(who, id), core.fetching.cancel(who, id), core.fetching.wait(who, id, 0)):
            with pytest.raises(FetchNotFound):
                await asked
    life = await redis.pttl(f"safelight:fetch:{fetch.id}")
    assert 0 < life <= settings.fetch_retention * 1000
    await redis.delete(f"safelight:fetch:{fetch.id}")
    with pytest.raises(FetchNotFound):
        await core.fetching.get(grant, fetch.id)


# Many at once


async def test_a_project_has_so_many_under_way_and_no_more(
    core: Core, grant: Grant, settings: Settings, server: Outside, reader: Queues
) -> None:
    slow = server.answers["/slow"] = Slow()
    server.answers["/quick"] = fixed(200, b"quick")
    begun = [await core.fetching.begin(grant, f"{server.url}/slow", Intake()) for _ in range(4)]
    other = Grant(project=settings.projects["other"])

    async def are_two() -> bool:
        return slow.asked == 2

    await until(are_two)
    assert (await fetched(core, other, f"{server.url}/quick")).status == "success"  # has slots of its own
    states = [(await core.fetching.get(grant, fetch.id)).status for fetch in begun]
    assert sorted(states) == ["progress", "progress", "waiting", "waiting"] and slow.asked == 2
    slow.go.set()
    assert {(await ended(core, grant, fetch)).status for fetch in begun} == {"success"}


async def test_a_project_cannot_fill_the_queue(
    core: Core, grant: Grant, server: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = fetch_records.CREATE_LUA.replace(f">= {fetch_records.MOST_OPEN} ", ">= 2 ")
    monkeypatch.setattr(fetch_records, "CREATE_LUA", few)
    begun = [await core.fetching.begin(grant, f"{server.url}/", Intake()) for _ in range(2)]
    with pytest.raises(FetchesTooMany):
        await core.fetching.begin(grant, f"{server.url}/", Intake())
    await core.fetching.cancel(grant, begun[0].id)
    await core.fetching.begin(grant, f"{server.url}/", Intake())


# Duplicates


async def test_a_url_is_fetched_once(core: Core, grant: Grant, server: Outside, reader: Queues) -> None:
    slow = server.answers["/"] = Slow()
    url = f"{server.url}/"
    begun = await asyncio.gather(*(core.fetching.begin(grant, url, Intake(), check=True) for _ in range(20)))
    assert len({fetch.id for fetch in begun}) == 1
    slow.go.set()
    file = await file_of(core, await ended(core, grant, begun[0]))
    known = await core.fetching.begin(grant, url, Intake(), check=True)
    assert (known.status, known.file, known.done) == ("success", file.id, file.size)
    assert await core.fetching.get(grant, known.id) == known
    assert len(server.heard) == 1


async def test_it_is_fetched_again_when_that_is_wanted_or_needed(
    core: Core, grant: Grant, settings: Settings, server: Outside, reader: Queues
) -> None:
    url = f"{server.url}/"
    server.answers["/"] = fixed(200, b"some words")

    async def file(who: Grant = grant, intake: Intake | None = None, **asked: bool) -> File:
        return await file_of(core, await fetched(core, who, url, intake, **asked))

    first = await file(save=True)
    assert await file(check=True, save=False) == first
    other = Grant(project=settings.projects["other"])
    others = [
        await file(),
        await file(check=False, save=False),
        await file(other, check=True),
        await file(intake=Intake(private=True), check=True),
    ]
    assert len({one.id for one in [first, *others]}) == 5
    assert await file(check=True) == first
    unstored = await file(intake=Intake(private=True, store=False), save=True)
    assert await file(intake=Intake(private=True, store=False), check=True, save=False) == unstored
    assert (await file(intake=Intake(private=True, store=True), check=True, save=False)).stored_at is not None
    narrow = await core.fetching.begin(grant, url, Intake(types=("image/*",)), check=True, save=False)
    assert (await ended(core, grant, narrow)).status == "error"
    await core.files.delete(grant, first.id)
    assert await file(check=True) != first
    keys = await core.redis.keys("safelight:fetched:*")
    lives = [await core.redis.pttl(key) for key in keys]
    assert lives and all(0 < life <= 30 * 86_400_000 for life in lives)


async def test_a_url_that_failed_is_not_remembered(core: Core, grant: Grant, server: Outside, reader: Queues) -> None:
    server.answers["/"] = fixed(404)
    assert await failed(core, grant, f"{server.url}/", check=True) == "SOURCE_NOT_FOUND"
    server.answers["/"] = fixed(200, b"there now")
    assert (await fetched(core, grant, f"{server.url}/", check=True)).status == "success"


async def test_the_same_bytes_are_kept_once_when_asked_for(
    core: Core, grant: Grant, settings: Settings, server: Outside, reader: Queues
) -> None:
    server.answers |= {"/a": fixed(200, BODY), "/b": fixed(200, BODY)}
    unstored = await core.uploads.accept(grant, Intake(store=False), once(BODY))
    private = await core.uploads.accept(grant, Intake(private=True), once(BODY))
    other = await core.uploads.accept(Grant(project=settings.projects["other"]), Intake(), once(BODY))
    first = await file_of(core, await fetched(core, grant, f"{server.url}/a", reuse=True))
    assert first.id not in {unstored.id, private.id, other.id}
    second = await fetched(core, grant, f"{server.url}/b", reuse=True, save=True)
    assert (second.file, second.done) == (first.id, len(BODY))
    assert (await fetched(core, grant, f"{server.url}/b")).file != first.id
    known = await core.fetching.begin(grant, f"{server.url}/b", Intake(), check=True)
    assert known.file == first.id
    await core.cleaning.close()
    staged = [path for path in core.settings.data_dir.rglob("*") if path.is_file() and ".staging" in path.parts]
    assert staged == []


# Runs that wait for their files


@pytest.fixture
async def pair(core: Core) -> None:
    await core.flows.put(
        "pair",
        "accept: {types: [image/*], max_size: 300KB}\nnodes:\n  one: {type: input}\n  two: {type: input, many: true}\n"
        '  out: {type: save, from: [one, two], path: "{node}/{file.name}"}\n',
    )


async def over(core: Core, grant: Grant, run: Run) -> Run:
    """The run when it waits no more."""
    async with asyncio.timeout(20):
        while (run := await core.runs.get(grant, run.id)).status == "waiting":
            await asyncio.sleep(0.01)
    return run


async def test_a_run_waits_for_its_files(
    core: Core, grant: Grant, server: Outside, reader: Queues, pair: None, redis: Redis
) -> None:
    slow = server.answers["/slow.png"] = Slow(picture())
    server.answers["/two.png"] = fixed(200, picture(40, 30))
    here = await core.uploads.accept(grant, Intake(name="here.png"), once(picture(20, 20)))
    inputs = {"one": [Remote(url=f"{server.url}/slow.png")], "two": [Remote(url=f"{server.url}/two.png"), here.id]}
    run = await core.runs.start(grant, "pair", inputs, metadata={"k": "v"})
    assert run.status == "waiting" and len(run.fetches) == 2
    quick = run.inputs["two"][0]

    async def has_one() -> bool:
        return (await core.runs.get(grant, run.id)).inputs["two"][0] != quick

    await until(has_one)
    standing = await core.runs.get(grant, run.id)
    assert standing.status == "waiting" and await redis.zcard("safelight:queue:default") == 0
    assert standing.inputs["one"] == run.inputs["one"]
    slow.go.set()
    queued = await over(core, grant, run)
    assert queued.status == "queued" and await redis.zcard("safelight:queue:default") == 1
    files = [await core.records.files.get(id) for ids in queued.inputs.values() for id in ids]
    assert [file.name for file in files] == ["slow.png", "two.png", "here.png"]
    assert files[0].metadata == {"k": "v"}
    begun = await core.records.runs.begin(run.id, 1, now())
    assert begun is not None and set(begun[1]) == {file.id for file in files}
    told = [event.type for event in await core.events.read("demo", run.id)]
    assert told == ["run.waiting", "run.queued", "run.started"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (fixed(404), "SOURCE_NOT_FOUND"),
        (fixed(200, b"no picture"), "TYPE_NOT_ALLOWED"),
        (fixed(200, os.urandom(300_001)), "FILE_TOO_LARGE"),
    ],
)
async def test_a_run_whose_file_does_not_come_fails(
    answer: Any, code: str, core: Core, grant: Grant, server: Outside, reader: Queues, pair: None
) -> None:
    slow = server.answers["/slow"] = Slow(picture())

    async def is_asked() -> bool:
        return slow.asked == 1

    async def bad(request: web.Request, body: bytes) -> web.StreamResponse:
        await until(is_asked)
        return await answer(request, body)

    server.answers["/bad"] = bad
    inputs = {"one": [Remote(url=f"{server.url}/slow")], "two": [Remote(url=f"{server.url}/bad")]}
    run = await core.runs.start(grant, "pair", inputs)
    failed = await over(core, grant, run)
    assert failed.status == "failed" and failed.error is not None
    assert (failed.error.code, failed.error.node) == (code, "two")
    assert {state.status for state in failed.nodes.values()} == {"cancelled"}
    await asyncio.wait_for(slow.left.wait(), 5)  # what nobody needs any more is not fetched on
    assert (await core.fetching.get(grant, run.inputs["one"][0])).status == "cancelled"


async def test_a_failed_run_fetches_again_when_it_is_retried(
    core: Core, grant: Grant, server: Outside, reader: Queues, pair: None
) -> None:
    server.answers |= {"/one": fixed(200, picture(30, 30)), "/two": fixed(404)}
    inputs = {"one": [Remote(url=f"{server.url}/one")], "two": [Remote(url=f"{server.url}/two", name="two.png")]}
    run = await core.runs.start(grant, "pair", inputs)
    assert (await over(core, grant, run)).status == "failed"
    server.answers["/two"] = fixed(200, picture(20, 20))
    again = await core.runs.retry(grant, run.id)
    assert (again.status, again.attempt) == ("waiting", 2)
    done = await over(core, grant, again)
    assert (done.status, done.error) == ("queued", None)
    assert (await core.records.files.get(done.inputs["two"][0])).name == "two.png"


async def test_a_cancelled_run_needs_no_file(
    core: Core, grant: Grant, server: Outside, reader: Queues, pair: None
) -> None:
    slow = server.answers["/slow"] = Slow(picture())
    urls = [Remote(url=f"{server.url}/slow")]
    run = await core.runs.start(grant, "pair", {"one": urls, "two": urls})

    async def is_asked() -> bool:
        return slow.asked == 2

    await until(is_asked)
    assert (await core.runs.cancel(grant, run.id)).status == "cancelled"
    states = {(await core.fetching.get(grant, id)).status for id in run.fetches}
    assert states == {"cancelled"}
    await asyncio.wait_for(slow.left.wait(), 5)


async def test_a_cancelled_fetch_fails_its_run(core: Core, grant: Grant, server: Outside, pair: None) -> None:
    urls = [Remote(url=f"{server.url}/")]
    run = await core.runs.start(grant, "pair", {"one": urls, "two": urls})
    await core.fetching.cancel(grant, run.inputs["one"][0])
    failed = await core.runs.get(grant, run.id)
    assert failed.error is not None and (failed.error.code, failed.error.node) == ("FETCH_CANCELLED", "one")


async def test_a_run_that_was_forgotten_is_recovered(
    core: Core, grant: Grant, server: Outside, reader: Queues, pair: None, redis: Redis
) -> None:
    """A web process died before it began the fetches, and a worker before it told of one."""
    server.answers["/"] = fixed(200, picture())
    flow = await core.runs.flow("pair")
    told, untold = new_id(), new_id()
    fetches = {told: Remote(url=f"{server.url}/"), untold: Remote(url=f"{server.url}/")}
    run = Run(
        project="demo",
        flow="pair",
        version=flow.version,
        status="waiting",
        inputs={"one": (told,), "two": (untold,)},
        fetches=fetches,
        created_at=now() - timedelta(minutes=5),
    )
    await fetched(core, grant, f"{server.url}/", run=run.id, id=told)  # the run is not on record yet
    await core.records.runs.create(run)
    await core.runs.recover()
    await ended(core, grant, await core.fetching.get(grant, untold))
    assert (await over(core, grant, run)).status == "queued"
    assert len(server.heard) == 2


async def test_what_is_wrong_with_a_run_is_told_before_anything_is_fetched(
    core: Core, grant: Grant, settings: Settings, pair: None, redis: Redis
) -> None:
    urls = [Remote(url="http://127.0.0.1:1/a")]
    outside = Grant(project=settings.projects["outside"])
    with pytest.raises(AddressRefused):
        await core.runs.start(outside, "pair", {"one": urls, "two": urls})
    await core.flows.pause("pair")
    with pytest.raises(FlowPaused):
        await core.runs.start(grant, "pair", {"one": urls, "two": urls})
    assert await redis.keys("safelight:fetch:*") == [] and FLOW
