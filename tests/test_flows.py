from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from pipeline.errors import CursorInvalid, FlowInvalid, FlowNotFound, FlowVersionNotFound
from pipeline.events import EventLog
from pipeline.flows import FlowRegistry
from pipeline.model import Event
from tests.records.nouns import whole_list

BROKEN = "nodes: {photo: {type: input}, small: {type: resise}}\n"


def a_flow(width: int = 320, title: str = "Thumbs", comment: str = "") -> str:
    return f"""# {comment}
title: {title}
description: Small ones.
nodes:
  photo: {{type: input}}
  small: {{type: resize, width: {width}}}   # {comment}
  out: {{type: save, path: "a.webp", format: webp}}
"""


@pytest.fixture
def flows(redis: Redis) -> FlowRegistry:
    return FlowRegistry(redis, "test:")


@pytest.fixture
async def log(redis: Redis) -> AsyncIterator[EventLog]:
    log = EventLog(redis, "test:")
    yield log
    await log.close()


async def told(log: EventLog) -> list[tuple[str, str, str | None]]:
    return [(e.subject, e.type, e.facts.get("version")) for e in await log.read("", limit=1000)]


async def test_a_flow_put_is_active_and_keeps_its_text(flows: FlowRegistry, log: EventLog) -> None:
    put = await flows.put("thumb", a_flow(comment="größer ist schöner"))
    assert (put.flow, put.text) == ("thumb", a_flow(comment="größer ist schöner"))
    flow = await flows.get("thumb")
    assert (flow.id, flow.version, flow.title) == ("thumb", put.version, "Thumbs")
    assert await flows.version("thumb") == await flows.version("thumb", put.version) == put
    pointer = await flows.pointer("thumb")
    assert (pointer.active, pointer.paused, pointer.versions) == (put.version, False, (put.version,))
    assert (pointer.title, pointer.description) == ("Thumbs", "Small ones.")
    assert await told(log) == [("thumb", "flow.activated", put.version)]


async def test_the_same_content_is_the_same_version(flows: FlowRegistry, log: EventLog) -> None:
    first = await flows.put("thumb", a_flow())
    second = await flows.put("thumb", a_flow(comment="only a comment"))
    assert (second.version, second.created_at) == (first.version, first.created_at)
    assert (await flows.version("thumb")).text == a_flow(comment="only a comment")
    assert (await flows.pointer("thumb")).versions == (first.version,)
    assert len(await told(log)) == 1


async def test_a_broken_flow_changes_nothing(flows: FlowRegistry, log: EventLog, redis: Redis) -> None:
    with pytest.raises(FlowInvalid) as refused:
        await flows.put("thumb", BROKEN)
    assert refused.value.facts["complaints"]
    assert await redis.keys("*") == []


async def test_what_is_not_there_is_not_found(flows: FlowRegistry) -> None:
    for call in (flows.get, flows.version, flows.pointer, flows.pause, flows.resume, flows.deactivate):
        with pytest.raises(FlowNotFound):
            await call("thumb")
    with pytest.raises(FlowNotFound):
        await flows.get("thumb", "0" * 16)
    await flows.put("thumb", a_flow())
    for versioned in (flows.get, flows.version, flows.activate):
        with pytest.raises(FlowVersionNotFound):
            await versioned("thumb", "0" * 16)


async def test_a_draft_waits_for_its_activation(flows: FlowRegistry, log: EventLog) -> None:
    draft = await flows.put("thumb", a_flow(), activate=False)
    pointer = await flows.pointer("thumb")
    assert (pointer.active, pointer.title) == (None, "Thumbs")
    with pytest.raises(FlowNotFound):
        await flows.get("thumb")
    assert (await flows.get("thumb", draft.version)).version == draft.version
    assert await told(log) == []
    assert (await flows.activate("thumb", draft.version)).active == draft.version


async def test_rolling_back_moves_the_pointer(flows: FlowRegistry, log: EventLog) -> None:
    first = await flows.put("thumb", a_flow(1, title="First"))
    second = await flows.put("thumb", a_flow(2, title="Second"))
    assert (await flows.pointer("thumb")).title == "Second"
    back = await flows.activate("thumb", first.version)
    assert (back.active, back.title, back.versions) == (first.version, "First", (first.version, second.version))
    await flows.activate("thumb", first.version)
    assert (await flows.get("thumb")).title == "First"
    assert [version for _, _, version in await told(log)] == [first.version, second.version, first.version]


async def test_every_process_sees_the_pointer_move(redis: Redis, flows: FlowRegistry) -> None:
    other = FlowRegistry(redis, "test:")
    first = await flows.put("thumb", a_flow(1))
    assert (await other.get("thumb")).version == first.version
    second = await flows.put("thumb", a_flow(2))
    assert (await other.get("thumb")).version == second.version
    assert await other.get("thumb") is await other.get("thumb", second.version)


async def test_of_many_activations_the_events_tell_the_outcome(flows: FlowRegistry, log: EventLog) -> None:
    versions = [(await flows.put("thumb", a_flow(width))).version for width in range(1, 11)]
    await asyncio.gather(*(flows.activate("thumb", version) for version in versions * 3))
    activated = [version for _, _, version in await told(log)]
    assert (await flows.pointer("thumb")).active == activated[-1]
    assert all(before != after for before, after in pairwise(activated))


async def test_pausing_and_resuming_are_told_once(flows: FlowRegistry, log: EventLog) -> None:
    put = await flows.put("thumb", a_flow())
    paused = await asyncio.gather(*(flows.pause("thumb") for _ in range(5)))
    assert all(pointer.paused and pointer.active == put.version for pointer in paused)
    assert (await flows.get("thumb")).version == put.version
    assert not (await flows.resume("thumb")).paused
    assert not (await flows.resume("thumb")).paused
    assert [kind for _, kind, _ in await told(log)] == ["flow.activated", "flow.paused", "flow.resumed"]


async def test_flows_are_listed_by_id(flows: FlowRegistry) -> None:
    names = [f"flow-{number:02}" for number in range(25)]
    for name in reversed(names):
        await flows.put(name, a_flow())
    found = await whole_list(lambda cursor: flows.list(cursor, 10))
    assert [pointer.id for pointer in found] == names
    assert found[3] == await flows.pointer(names[3])
    with pytest.raises(CursorInvalid):
        await flows.list("rubbish")


async def test_a_folder_is_loaded_and_its_faults_are_returned(flows: FlowRegistry, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(a_flow())
    (tmp_path / "broken.yaml").write_text(BROKEN)
    (tmp_path / "latin.yaml").write_bytes(b"title: \xff")
    (tmp_path / "notes.txt").write_text("not a flow")
    (tmp_path / ".#good.yaml").symlink_to("nowhere")
    complaints = await flows.sync(tmp_path)
    assert {complaint.file for complaint in complaints} == {
        str(tmp_path / "broken.yaml"),
        str(tmp_path / "latin.yaml"),
    }
    assert all(complaint.line for complaint in complaints if "broken" in complaint.file)
    assert [pointer.id for pointer in (await flows.list()).items] == ["good"]


async def test_a_restart_does_not_undo_a_roll_back_but_a_changed_file_counts(
    flows: FlowRegistry, tmp_path: Path
) -> None:
    path = tmp_path / "thumb.yaml"
    versions = []
    for width in (1, 2):
        path.write_text(a_flow(width))
        assert await flows.sync(tmp_path) == []
        versions.append((await flows.get("thumb")).version)
    await flows.activate("thumb", versions[0])
    await flows.sync(tmp_path)
    assert (await flows.get("thumb")).version == versions[0]
    await flows.activate("thumb", versions[1])
    path.write_text(a_flow(1))
    await flows.sync(tmp_path)
    assert (await flows.get("thumb")).version == versions[0]


async def test_a_file_that_breaks_leaves_the_active_version(flows: FlowRegistry, tmp_path: Path) -> None:
    (tmp_path / "thumb.yaml").write_text(a_flow())
    await flows.sync(tmp_path)
    before = await flows.pointer("thumb")
    (tmp_path / "thumb.yaml").write_text(BROKEN)
    assert await flows.sync(tmp_path)
    assert await flows.pointer("thumb") == before


@asynccontextmanager
async def watching(flows: FlowRegistry, folder: Path) -> AsyncIterator[None]:
    watcher = asyncio.create_task(flows.watch(folder))
    yield
    watcher.cancel()
    with suppress(asyncio.CancelledError):
        await watcher


async def test_a_watched_folder_is_followed(flows: FlowRegistry, log: EventLog, tmp_path: Path) -> None:
    path = tmp_path / "thumb.yaml"
    path.write_text(a_flow(1))

    with structlog.testing.capture_logs() as lines:
        async with aclosing(log.follow("", "thumb", "0", idle=20)) as events, watching(flows, tmp_path):

            async def next_event() -> Event:
                event = await anext(events)
                assert event is not None, "nothing happened"
                return event

            assert (await next_event()).type == "flow.activated"
            path.write_text(a_flow(2))
            second = await next_event()
            assert second.facts["version"] == (await flows.get("thumb")).version

            path.write_text(BROKEN)
            while not lines:
                await asyncio.sleep(0.01)
            assert (await flows.get("thumb")).version == second.facts["version"]
            assert "thumb.yaml:1:" in lines[0]["complaint"]

            path.write_text(a_flow(3))
            assert (await next_event()).type == "flow.activated"
            path.unlink()
            assert (await next_event()).type == "flow.deactivated"
            with pytest.raises(FlowNotFound):
                await flows.get("thumb")
            assert len((await flows.pointer("thumb")).versions) == 3

            path.write_text(a_flow(3))
            assert (await next_event()).type == "flow.activated"


MARKED = """nodes:
  photo: {type: input}
  marked: {type: watermark, image: "asset:mark.svg"}
  out: {type: save}
"""
MARK = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><rect width="8" height="8"/></svg>'


async def test_a_file_that_lacks_its_mark_leaves_the_active_version(flows: FlowRegistry, tmp_path: Path) -> None:
    before = await flows.put("marked", a_flow())
    (tmp_path / "marked.yaml").write_text(MARKED)
    (complaint,) = await flows.sync(tmp_path)
    assert str(complaint).startswith(f"{tmp_path}/marked.yaml:3:36 ASSET_UNKNOWN There is no asset `mark.svg`.")
    assert (await flows.pointer("marked")).active == before.version
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "mark.svg").write_text(MARK)
    assert await flows.sync(tmp_path) == []
    assert (await flows.pointer("marked")).active != before.version


async def test_a_watched_file_is_taken_once_its_mark_is_there(
    flows: FlowRegistry, log: EventLog, tmp_path: Path
) -> None:
    (tmp_path / "marked.yaml").write_text(MARKED)
    with structlog.testing.capture_logs() as lines:
        async with watching(flows, tmp_path), aclosing(log.follow("", "marked", "0", idle=20)) as events:
            while not lines:
                await asyncio.sleep(0.01)
            (tmp_path / "assets").mkdir()
            (tmp_path / "assets" / "mark.svg").write_text(MARK)
            event = await anext(events)
            assert event is not None and event.type == "flow.activated"
    assert ["ASSET_UNKNOWN" in line["complaint"] for line in lines] == [True]


async def test_what_is_put_may_get_its_mark_later(flows: FlowRegistry) -> None:
    put = await flows.put("marked", MARKED)
    assert (await flows.get("marked")).version == put.version


async def test_a_folder_that_comes_later_is_watched_then(flows: FlowRegistry, log: EventLog, tmp_path: Path) -> None:
    folder = tmp_path / "flows"
    assert await flows.sync(folder) == []
    async with watching(flows, folder), aclosing(log.follow("", "thumb", "0", idle=20)) as events:
        await asyncio.sleep(0)
        folder.mkdir()
        (folder / "thumb.yaml").write_text(a_flow())
        event = await anext(events)
        assert event is not None and event.type == "flow.activated"


async def test_what_changed_while_the_server_was_full_is_taken_later(
    flows: FlowRegistry, log: EventLog, redis: Redis, tmp_path: Path
) -> None:
    (tmp_path / "thumb.yaml").write_text(a_flow())
    await redis.config_set("maxmemory", 1)
    try:
        with structlog.testing.capture_logs() as lines:
            async with watching(flows, tmp_path):
                while not lines:
                    await asyncio.sleep(0.01)
                await redis.config_set("maxmemory", 0)
                async with aclosing(log.follow("", "thumb", "0", idle=20)) as events:
                    event = await anext(events)
                    assert event is not None and event.type == "flow.activated"
    finally:
        await redis.config_set("maxmemory", 0)
