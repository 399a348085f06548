"""What is told in the step that makes it so: folders that come to be and go, derivatives that are made; once each."""

from __future__ import annotations

import asyncio
from functools import partial

from pipeline.events import EventLog
from pipeline.model import Derivative, File, new_id
from pipeline.records import Records
from pipeline.records.folders import FOLDER
from pipeline.records.queue import Slip
from tests.records.nouns import a_file, all_events, an_upload, logged, moment

SLIP = Slip("queue", "job", b"{}", 1000, "demo")
FAULT = {"code": "NODE_INVALID"}


async def folders(events: EventLog) -> list[tuple[str, str]]:
    told = [event for event in await all_events(events) if event.type.startswith("folder.")]
    assert all(event.facts["folder"] == event.subject for event in told)
    return [(event.type.removeprefix("folder."), event.subject) for event in told]


async def test_folders_are_there_while_files_are_in_them_or_they_are_noted(records: Records, events: EventLog) -> None:
    files = []
    for folder in ("a/b", "a/b", "c"):
        upload = an_upload(id=new_id())
        await records.uploads.create(upload)
        files.append(a_file(id=upload.id, folder=folder))
        await records.uploads.finish(upload.id, files[-1])
    made = [("created", "a"), ("created", "a/b"), ("created", "c")]
    assert sorted(await folders(events)) == made
    await records.sheets.add("demo", FOLDER, "1", {}, "c")  # it is there already
    await records.sheets.add("demo", FOLDER, "2", {}, "d")
    for file in files[1:]:
        await records.files.delete(file.id)  # one is left in a/b, and c is noted
    assert (await folders(events))[3:] == [("created", "d")]
    moved = partial(File.model_copy, update={"folder": "d/e"})
    await records.files.change(files[0].id, moved, moment(1))
    for id in "121":
        await records.sheets.delete("demo", FOLDER, id)
    told = await folders(events)
    assert sorted(told[4:7]) == [("created", "d/e"), ("deleted", "a"), ("deleted", "a/b")]
    assert told[7:] == [("deleted", "c")]  # a file is in d still
    await records.files.delete(files[0].id)
    assert sorted((await folders(events))[8:]) == [("deleted", "d"), ("deleted", "d/e")]


async def test_a_making_is_told_once_however_many_order_and_end_it(records: Records, events: EventLog) -> None:
    file, derivatives = a_file(id=new_id()), records.derivatives
    await records.files.create(file)
    made = Derivative(storage="default", key="k", mime="video/mp4", size=5)
    telling = {"url": 'https://x/"ö"', "options": {}}
    await derivatives.order(file.id, "quiet", SLIP)
    await asyncio.gather(*(derivatives.order(file.id, "k", SLIP, telling) for _ in range(3)))
    await asyncio.gather(*(derivatives.add(file.id, made) for _ in range(3)))
    await derivatives.fail("k", FAULT, 1, "too late")
    assert await derivatives.add(file.id, made)
    assert await derivatives.add(file.id, made.model_copy(update={"key": "quiet"}))
    (ordered, ended) = await all_events(events, file.id)
    assert (ordered.type, ordered.facts) == ("derivative.ordered", telling)
    assert (ended.type, ended.facts) == ("derivative.made", telling | {"mime": "video/mp4", "size": 5})
    # Made anew it is told anew.
    await derivatives.forget(file.id, ["k"])
    await derivatives.order(file.id, "k", SLIP, telling)
    await derivatives.order(file.id, "k", SLIP, telling)
    await derivatives.fail("k", FAULT, 0.01, "It cannot be.")
    assert (await logged(events, file.id))[2:] == ["derivative.ordered", "derivative.failed"]
    assert (await all_events(events, file.id))[-1].facts == telling | FAULT | {"message": "It cannot be."}
