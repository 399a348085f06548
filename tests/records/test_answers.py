from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from pipeline.errors import IdempotencyInProgress, IdempotencyMismatch
from pipeline.model import Answer
from pipeline.records import Records
from tests.records.nouns import outcome

HEADERS = {"Content-Type": "application/json", "Location": "/v1/runs/1"}


async def test_of_thirty_claims_one_is_given(records: Records) -> None:
    claims = [outcome(records.answers.claim("demo", "key", "print", 60)) for _ in range(30)]
    found = await asyncio.gather(*claims)
    assert found.count(None) == 1
    assert found.count(IdempotencyInProgress) == 29


async def test_the_first_answer_is_given_again(records: Records) -> None:
    await records.answers.claim("demo", "key", "print", 60)
    await records.answers.keep("demo", "key", 201, HEADERS, b"\xff\x00binary")
    kept = Answer(status=201, headers=HEADERS, body=b"\xff\x00binary")
    assert await asyncio.gather(*(records.answers.claim("demo", "key", "print", 60) for _ in range(5))) == [kept] * 5


async def test_a_key_belongs_to_one_request_of_one_project(records: Records) -> None:
    await records.answers.claim("demo", "key", "print", 60)
    with pytest.raises(IdempotencyMismatch):
        await records.answers.claim("demo", "key", "another print", 60)
    await records.answers.keep("demo", "key", 201, HEADERS, b"")
    with pytest.raises(IdempotencyMismatch):
        await records.answers.claim("demo", "key", "another print", 60)
    assert await records.answers.claim("other", "key", "another print", 60) is None


async def test_a_released_key_is_free_but_an_answer_stays(records: Records) -> None:
    await records.answers.claim("demo", "key", "print", 60)
    await records.answers.release("demo", "key")
    assert await records.answers.claim("demo", "key", "another print", 60) is None
    await records.answers.keep("demo", "key", 200, {}, b"kept")
    await records.answers.release("demo", "key")
    assert await records.answers.claim("demo", "key", "another print", 60) == Answer(status=200, body=b"kept")


async def test_answers_last_as_long_as_asked_and_bare_claims_not_for_a_day(records: Records, redis: Redis) -> None:
    await records.answers.claim("demo", "key", "print", 86400)
    assert await redis.ttl("test:answer:demo:key") <= 3600
    await records.answers.keep("demo", "key", 200, {}, b"")
    assert await redis.ttl("test:answer:demo:key") > 86000
    await records.answers.claim("demo", "short", "print", 5)
    assert await redis.ttl("test:answer:demo:short") <= 5


async def test_an_answer_to_a_lapsed_claim_is_not_kept(records: Records, redis: Redis) -> None:
    await records.answers.keep("demo", "key", 200, {}, b"")
    assert await redis.keys("*") == []
