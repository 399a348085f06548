"""Dead letters over HTTP and on the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.model import LetterReason, Problem, Try, now

from .house import House, photo

AWAY = Problem(code="STORAGE_UNAVAILABLE", message="The storage does not answer; try again shortly.", node="out")
COMMAND = Path(sys.executable).parent / "safelight"


@pytest.fixture(autouse=True)
async def alone(house: House) -> None:
    """No worker takes what these tests begin themselves."""
    await house.core.records.queues.pause("default")


async def given_up(
    house: House, flow: str = "tiny", problem: Problem = AWAY, reason: LetterReason = "exhausted"
) -> str:
    """The id of a run that a worker began twice and gave up."""
    sent = await house.send(photo(), "red.jpg")
    document = {"inputs": {"photo": {"file": sent["id"]}}}
    run = await house.json("POST", f"/v1/flows/{flow}/runs", 202, json=document)
    runs, id = house.core.records.runs, str(run["id"])
    await runs.begin(id, 1, now(), "w1")
    await runs.release(id, 1, now(), problem)
    await runs.begin(id, 1, now(), "w2")
    await runs.fail(id, 1, problem, {}, now(), reason)
    return id


async def listed(house: House, query: str = "", **more: Any) -> list[str]:
    page = await house.json("GET", f"/v1/dead-letters{query}", **more)
    return [letter["run"] for letter in page["items"]]


async def typed(house: House, *words: str) -> tuple[int | None, str]:
    """Exit code and output of the command against this server."""
    program = await asyncio.create_subprocess_exec(
        COMMAND, *words, "--url", house.base, "--key", house.key, stdout=asyncio.subprocess.PIPE, cwd=house.data
    )
    out, _ = await program.communicate()
    return program.returncode, out.decode()


async def test_a_dead_letter_tells_every_try_and_goes_when_its_run_is_begun_anew(house: House) -> None:
    id = await given_up(house)
    letter = await house.json("GET", f"/v1/dead-letters/{id}")
    assert (letter["run"], letter["flow"], letter["reason"], letter["attempt"]) == (id, "tiny", "exhausted", 1)
    assert letter["error"] == AWAY.model_dump()
    assert [(one["attempt"], one["worker"], one["error"]["code"]) for one in letter["tries"]] == [
        (1, "w1", AWAY.code),
        (1, "w2", AWAY.code),
    ]
    assert all(one["started_at"] <= one["ended_at"] for one in letter["tries"])
    run = await house.json("POST", f"/v1/dead-letters/{id}/retry", 202)
    assert (run["status"], run["attempt"], len(run["tries"])) == ("queued", 2, 2)
    await house.problem("GET", f"/v1/dead-letters/{id}", 404, "LETTER_NOT_FOUND")
    told = [event.type for event in await house.core.events.read("demo", id, None, 100)]
    assert told[-3:] == ["letter.added", "letter.resolved", "run.queued"]


async def test_letters_are_listed_by_flow_code_and_page_for_their_own_project_only(house: House) -> None:
    ours = Problem(code="INTERNAL", message="It is our fault.")
    first, second, third = await given_up(house), await given_up(house, problem=ours), await given_up(house)
    assert await listed(house) == [third, second, first]
    assert await listed(house, "?code=INTERNAL") == [second]
    assert await listed(house, "?flow=tiny&code=STORAGE_UNAVAILABLE") == [third, first]
    assert await listed(house, "?flow=pair") == []
    page = await house.json("GET", "/v1/dead-letters?limit=2")
    assert await listed(house, f"?limit=2&cursor={page['next']}") == [first]
    assert await listed(house, key="other-key") == []
    await house.problem("POST", f"/v1/dead-letters/{first}/retry", 404, "LETTER_NOT_FOUND", key="other-key")


async def test_letters_are_settled_some_by_filter_or_all(house: House) -> None:
    ours = Problem(code="INTERNAL", message="It is our fault.")
    first, second = await given_up(house), await given_up(house, problem=ours, reason="internal")
    third, fourth = await given_up(house), await given_up(house)
    assert await house.json("POST", "/v1/dead-letters/retry", json={"code": "INTERNAL"}) == {"count": 1}
    assert (await house.json("GET", f"/v1/runs/{second}"))["status"] == "queued"
    assert await house.json("POST", f"/v1/dead-letters/{first}/resolve", 204, json={"note": "seen"}) is None
    resolved = (await house.core.events.read("demo", first, None, 100))[-1]
    assert (resolved.type, resolved.facts["how"], resolved.facts["note"]) == ("letter.resolved", "resolved", "seen")
    assert (await house.json("GET", f"/v1/runs/{first}"))["status"] == "failed"
    assert await house.json("POST", "/v1/dead-letters/resolve", json={"runs": [third]}) == {"count": 1}
    assert await house.json("POST", "/v1/dead-letters/purge") == {"count": 1}
    assert await listed(house) == [] and (await house.json("GET", f"/v1/runs/{fourth}"))["status"] == "failed"
    assert await house.core.records.letters.count() == 0


async def test_letters_that_are_named_are_retried_and_no_others(house: House) -> None:
    first, second, third = await given_up(house), await given_up(house), await given_up(house)
    assert await house.json("POST", "/v1/dead-letters/retry", json={"runs": [first, third, first]}) == {"count": 2}
    assert await listed(house) == [second]
    standing = [(run["status"], run["attempt"]) for run in [await house.json("GET", f"/v1/runs/{id}") for id in
                (first, second, third)]]  # fmt: skip
    assert standing == [("queued", 2), ("failed", 1), ("queued", 2)]
    await house.problem("POST", "/v1/dead-letters/retry", 404, "LETTER_NOT_FOUND", json={"runs": [second, first]})
    assert await listed(house) == [second]


async def test_a_letter_is_kept_for_its_time(house: House) -> None:
    id = await given_up(house)
    letters = house.core.records.letters
    assert await letters.expire(now() - timedelta(minutes=1)) == 0 and await letters.count("demo") == 1
    assert await letters.expire(now() + timedelta(minutes=1)) == 1 and await letters.count("demo") == 0
    assert (await house.json("GET", f"/v1/runs/{id}"))["status"] == "failed"


async def test_a_run_that_killed_its_workers_is_failed_with_the_history_of_their_deaths(house: House) -> None:
    sent = await house.send(photo(), "red.jpg")
    run = await house.json("POST", "/v1/flows/tiny/runs", 202, json={"inputs": {"photo": {"file": sent["id"]}}})
    id = run["id"]
    for worker in ("w1", "w2"):
        await house.core.records.runs.begin(id, 1, now(), worker)
    poison = Problem(code="POISONED", message="Its workers died.")
    deaths = [Try(attempt=1, worker=name, ended_at=now(), error=poison) for name in ("w0", "w1", "w2")]
    assert await house.core.records.letters.add(id, 1, poison, deaths) is not None
    letter = await house.json("GET", f"/v1/dead-letters/{id}")
    assert (letter["reason"], letter["error"]["code"]) == ("poisoned", "POISONED")
    assert sorted(one["worker"] for one in letter["tries"]) == ["w0", "w1", "w2"]
    assert {one["error"]["code"] for one in letter["tries"]} == {"WORKER_LOST", "POISONED"}
    assert (await house.json("GET", f"/v1/runs/{id}"))["status"] == "failed"
    assert await house.core.records.letters.add(id, 1, poison, deaths) is None


async def test_the_command_shows_and_settles_letters(house: House) -> None:
    first, second = await given_up(house), await given_up(house)
    code, out = await typed(house, "letters", "ls", "--json")
    assert code == 0 and [letter["run"] for letter in json.loads(out)["items"]] == [second, first]
    code, out = await typed(house, "letters", "show", first)
    assert code == 0 and out.count(AWAY.code) == 3 and "w1" in out and "exhausted" in out
    code, out = await typed(house, "letters", "retry", first)
    assert (code, out) == (0, "1 queued again.\n")
    code, out = await typed(house, "letters", "resolve", "--all", "--note", "fine", "--json")
    assert code == 0 and json.loads(out) == {"count": 1}
    code, _ = await typed(house, "letters", "purge")
    assert code == 2 and await listed(house) == []


@pytest.mark.parametrize("path", ["/v1/dead-letters/no-id", "/v1/dead-letters/00000000-0000-4000-8000-000000000000"])
async def test_what_is_no_letter_is_not_found(house: House, path: str) -> None:
    await house.problem("GET", path, 404, "LETTER_NOT_FOUND")
    await house.problem("POST", f"{path}/resolve", 404, "LETTER_NOT_FOUND")


async def test_a_run_is_begun_anew_from_where_it_failed_if_asked_to(house: House) -> None:
    first, second = await given_up(house), await given_up(house)
    run = await house.json("POST", f"/v1/runs/{first}/retry", 202, json={"from": "failed"})
    assert (run["status"], run["attempt"]) == ("queued", 2)
    await house.problem("POST", f"/v1/runs/{second}/retry", 400, "REQUEST_INVALID", json={"from": "middle"})
    code, out = await typed(house, "runs", "retry", second, "--from-failed")
    assert (code, out) == (0, f"{second} queued, attempt 2\n")
    code, out = await typed(house, "runs", "show", second)
    assert code == 0 and "w1" in out and "w2" in out
