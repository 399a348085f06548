from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from redis.asyncio import Redis

from pipeline.errors import IdempotencyInProgress, IdempotencyMismatch
from pipeline.model import Answer
from pipeline.records import Records
from tests.records.nouns import outcome

HEADERS = {"Content-Type": "application/json", "Location": "/v1/runs/1"}


async def claim(records: Records, holder: str = "a", print: str = "print", project: str = "demo") -> Answer | str:
    return await records.answers.claim(project, "key", print, 60, holder)


async def test_of_thirty_claims_one_is_given(records: Records) -> None:
    found = await asyncio.gather(*(outcome(claim(records, str(number))) for number in range(30)))
    assert found.count(IdempotencyInProgress) == 29
    assert [UUID(id) for id in found if isinstance(id, str)]


async def test_the_first_answer_is_given_again(records: Records) -> None:
    await claim(records)
    await records.answers.keep("demo", "key", "a", 201, HEADERS, b"\xff\x00binary")
    kept = Answer(status=201, headers=HEADERS, body=b"\xff\x00binary")
    assert await asyncio.gather(*(claim(records, str(number)) for number in range(5))) == [kept] * 5


async def test_a_key_belongs_to_one_request_of_one_project(records: Records) -> None:
    await claim(records)
    with pytest.raises(IdempotencyMismatch):
        await claim(records, "b", "another print")
    await records.answers.keep("demo", "key", "a", 201, HEADERS, b"")
    with pytest.raises(IdempotencyMismatch):
        await claim(records, "b", "another print")
    assert isinstance(await claim(records, "b", "another print", "other"), str)


async def test_a_claim_whose_answer_was_lost_is_given_again_to_who_has_it(records: Records) -> None:
    assert await claim(records) == await claim(records)


async def test_a_released_key_is_free_but_an_answer_stays(records: Records) -> None:
    await claim(records)
    await records.answers.release("demo", "key", "a")
    await claim(records, "b", "another print")
    await records.answers.keep("demo", "key", "b", 200, {}, b"kept")
    await records.answers.release("demo", "key", "b")
    assert await claim(records, "c", "another print") == Answer(status=200, body=b"kept")


async def test_what_comes_again_is_made_under_the_same_id(records: Records) -> None:
    id = await claim(records)
    await records.answers.release("demo", "key", "a")
    assert await claim(records, "b") == id
    await records.answers.release("demo", "key", "b")
    assert await claim(records, "c", "another print") != id


async def test_a_claim_lapses_unless_it_is_renewed(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.records.answers.HELD_SECONDS", 0.3)
    id = await claim(records)
    for _ in range(4):
        await asyncio.sleep(0.1)
        await records.answers.renew("demo", "key", "a")
    with pytest.raises(IdempotencyInProgress):
        await claim(records, "b")
    await asyncio.sleep(0.4)
    assert await claim(records, "b") == id


async def test_who_lost_a_claim_answers_and_releases_nothing(records: Records) -> None:
    await claim(records, "b")
    await records.answers.keep("demo", "key", "a", 200, {}, b"late")
    await records.answers.renew("demo", "key", "a")
    await records.answers.release("demo", "key", "a")
    with pytest.raises(IdempotencyInProgress):
        await claim(records, "c")


async def test_answers_last_as_long_as_asked(records: Records, redis: Redis) -> None:
    await records.answers.claim("demo", "key", "print", 86400, "a")
    await records.answers.keep("demo", "key", "a", 200, {}, b"")
    assert await redis.ttl("test:answer:demo:key") > 86000
    await records.answers.claim("demo", "short", "print", 5, "a")
    assert await redis.ttl("test:answer:demo:short") <= 5


async def test_an_answer_to_a_forgotten_claim_is_not_kept(records: Records, redis: Redis) -> None:
    await records.answers.keep("demo", "key", "a", 200, {}, b"")
    assert await redis.keys("*") == []
