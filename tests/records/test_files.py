from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode

import pytest
from redis.asyncio import Redis

from pipeline.errors import CursorInvalid, FileNotFound
from pipeline.events import EventLog
from pipeline.model import File, ImageFacts, Page, new_id
from pipeline.records import Records
from tests.records.nouns import a_file, all_events, keys, logged, moment, whole_list


async def test_a_file_comes_back_as_it_was_put(records: Records) -> None:
    file = a_file(image=ImageFacts(format="jpeg", width=4, height=3), metadata={"who": "Zoë"}, expires_at=moment(5))
    await records.files.create(file)
    assert await records.files.get(file.id) == file


async def test_an_unknown_file_is_not_found(records: Records) -> None:
    with pytest.raises(FileNotFound):
        await records.files.get(new_id())


async def test_creating_again_changes_nothing_and_says_nothing(records: Records, events: EventLog) -> None:
    file = a_file()
    await records.files.create(file)
    await records.files.create(file.model_copy(update={"name": "other.jpg"}))
    assert (await records.files.get(file.id)).name == file.name
    assert await logged(events) == []


async def test_many_are_got_in_order_with_gaps(records: Records) -> None:
    first, second = a_file(), a_file()
    await records.files.create(first)
    await records.files.create(second)
    assert await records.files.get_many([second.id, new_id(), first.id]) == [second, None, first]
    assert await records.files.get_many([]) == []


async def test_a_list_goes_newest_first_over_pages_while_files_arrive(records: Records) -> None:
    # Ten files share each microsecond, so that pages end inside ties.
    old = [a_file(created_at=moment(number // 10)) for number in range(250)]
    await asyncio.gather(*(records.files.create(file) for file in old))
    await records.files.create(a_file(project="other"))

    async def page_and_intruder(cursor: str | None) -> Page[File]:
        page = await records.files.list("demo", cursor, 7)
        await records.files.create(a_file(created_at=moment(1000)))
        return page

    found = await whole_list(page_and_intruder)
    assert {file.id for file in found} == {file.id for file in old}
    assert found == sorted(old, key=lambda file: (file.created_at, file.id), reverse=True)


async def test_a_list_goes_on_when_the_file_at_the_cursor_is_deleted(records: Records) -> None:
    files = [a_file(created_at=moment(0)) for _ in range(6)]
    for file in files:
        await records.files.create(file)
    ordered = sorted(files, key=lambda file: file.id, reverse=True)
    page = await records.files.list("demo", None, 3)
    assert list(page.items) == ordered[:3]
    await records.files.delete(ordered[2].id)
    assert list((await records.files.list("demo", page.next, 3)).items) == ordered[3:]


async def test_the_last_page_has_no_next(records: Records) -> None:
    for number in range(4):
        await records.files.create(a_file(created_at=moment(number)))
    first = await records.files.list("demo", None, 2)
    second = await records.files.list("demo", first.next, 2)
    assert first.next is not None and second.next is None
    assert (await records.files.list("nobody")).items == ()


def encoded(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "äöü", "....", "1:2", "A" * 5000, encoded("nan:a"), encoded("-1:a"), encoded("1:"), encoded("1"),
     encoded("9" * 17 + ":a"), encoded("+inf:a"), encoded("١:a"), encoded("1:a") + "=", encoded(":a")],
)  # fmt: skip
async def test_rubbish_is_no_cursor(records: Records, cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        await records.files.list("demo", cursor)


async def test_storing_is_noted_once_and_ends_the_expiry(records: Records, events: EventLog) -> None:
    file = a_file(expires_at=moment(10))
    await records.files.create(file)
    found = await asyncio.gather(*(records.files.store(file.id, moment(n)) for n in range(20)))
    assert len({each.stored_at for each in found}) == 1 and found[0].expires_at is None
    assert await records.files.get(file.id) == found[0]
    assert await records.files.expired(moment(99)) == []
    (event,) = await all_events(events)
    assert (event.type, event.subject) == ("file.stored", file.id)
    assert event.facts == {"name": "löwe.jpg", "mime": "image/jpeg", "size": 12_345_678}
    assert await all_events(events, file.id) == [event]


async def test_storing_what_is_gone_is_not_found(records: Records) -> None:
    with pytest.raises(FileNotFound):
        await records.files.store(new_id(), moment(0))


async def test_deleting_leaves_nothing_but_its_event(records: Records, redis: Redis, events: EventLog) -> None:
    file = a_file(expires_at=moment(10))
    await records.files.create(file)
    found = await asyncio.gather(*(records.files.delete(file.id) for _ in range(20)))
    assert [each for each in found if each] == [file]
    assert await logged(events) == ["file.deleted"]
    assert (await all_events(events))[0].facts["size"] == 12_345_678
    assert await keys(redis) == ["test:events::outgoing", "test:events:demo", f"test:subject:demo:{file.id}"]


async def test_stored_or_deleted_but_never_both_halves(records: Records, redis: Redis, events: EventLog) -> None:
    for _ in range(20):
        file = a_file(expires_at=moment(10))
        await records.files.create(file)
        stored, deleted = await asyncio.gather(
            records.files.store(file.id, moment(1)), records.files.delete(file.id), return_exceptions=True
        )
        assert isinstance(deleted, File)
        assert (await logged(events, file.id))[-1] == "file.deleted"
        assert (deleted.stored_at is not None) == isinstance(stored, File)
    assert [key for key in await keys(redis) if "subject" not in key] == ["test:events::outgoing", "test:events:demo"]


async def test_expired_files_are_listed_longest_overdue_first(records: Records) -> None:
    files = [a_file(expires_at=moment(number), project=f"p{number % 3}") for number in range(10)]
    for file in reversed(files):
        await records.files.create(file)
    await records.files.create(a_file())
    assert await records.files.expired(moment(4)) == files[:5]
    assert await records.files.expired(moment(99), 3) == files[:3]
    assert await records.files.expired(moment(-1)) == []
