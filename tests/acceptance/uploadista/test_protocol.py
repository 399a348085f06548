"""A client of the protocol sends files through flows, over two web processes, whoever of the house is killed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.uploadista.client import ENDS, Done, assert_whole
from tests.acceptance.uploadista.conftest import GUIDE, House
from tests.acceptance.uploadista.pictures import fetched, given, picture, sent_and_seen

MANY = 40
PHOTO = Path("tests/photos/sunset.jpg")


def steady(event: dict[str, Any]) -> dict[str, Any]:
    """An event without the upload in it, which is told as it is by now."""
    return {name: value for name, value in event.items() if name != "partialData"}


async def test_a_file_goes_through_a_flow_and_all_of_it_is_told(house: House) -> None:
    client = await house.client()
    done = await sent_and_seen(house, client, 1)
    job = await client.status(done.job)
    assert job["status"] == "completed" and job["result"] == done.outputs
    # A socket that comes late is told the same from the beginning, and nothing behind the end.
    async with client.socket("flow", done.job) as late, client.socket("upload", done.upload) as over:
        await late.until(*ENDS)
        await over.until("upload-complete")
        await asyncio.gather(late.asked(), over.asked())
    assert [steady(event) for event in late.events] == [steady(event) for event in done.events]
    assert over.names == ["upload-started", "upload-complete"]


@pytest.mark.parametrize("flow", GUIDE)
async def test_the_flows_of_the_guide_run_to_their_end(house: House, flow: str) -> None:
    client = await house.client()
    entry = next(node["id"] for node in (await client.ask("GET", f"/flow/{flow}"))["nodes"] if node["type"] == "input")
    done = await client.through(flow, PHOTO.read_bytes())
    assert_whole(done, entry)
    made = {output["data"]["id"]: await fetched(house, output) for output in done.outputs}
    assert len(made) == len(done.outputs) > 0
    for output in done.outputs:
        size = made[output["data"]["id"]].size
        assert (output["data"]["metadata"]["width"], output["data"]["metadata"]["height"]) == size


async def test_many_at_once_each_get_their_own(house: House) -> None:
    client = await house.client()
    done = await asyncio.gather(*(sent_and_seen(house, client, number) for number in range(MANY)))
    assert len({one.job for one in done}) == len({one.upload for one in done}) == MANY


async def test_inputs_that_come_at_once_and_late_are_one_job(house: House) -> None:
    client, bodies = await house.client(), {"first": picture(2), "second": picture(3)}
    job = (await client.begun("pair", {}))["id"]

    async with client.socket("flow", job) as told:
        await asyncio.gather(*(given(client, job, body, node) for node, body in bodies.items()))
        end = await told.until(*ENDS)
        await told.asked()
    assert end["eventType"] == "flow-end" and {output["nodeId"] for output in end["outputs"]} == {"first", "second"}
    names = [event["eventType"] for event in told.events]
    assert (names.count("node-pause"), names.count("node-resume"), names.count("flow-end")) == (2, 2, 1)


async def test_a_worker_killed_in_the_middle_ends_the_flow_once_all_the_same(house: House) -> None:
    client = await house.client()
    job = (await client.begun("slow", {}))["id"]
    async with client.socket("flow", job) as told, client.socket("flow", job) as other:
        upload = await given(client, job)
        await told.until("node-start", node="heavy")
        (await house.at_work(job)).kill()
        async with client.socket("flow", job) as back:  # who returns meanwhile has missed nothing
            ends = [await line.until(*ENDS) for line in (told, other, back)]
            await asyncio.gather(told.asked(), other.asked(), back.asked())
    assert [end["eventType"] for end in ends] == ["flow-end"] * 3
    assert [steady(event) for event in told.events] == [steady(event) for event in other.events]
    assert [steady(event) for event in told.events] == [steady(event) for event in back.events]
    assert len((await house.native(f"/v1/runs/{job}"))["tries"]) == 2, "it was not killed in the middle"
    assert_whole(Done(job, upload, ends[0]["outputs"], told.events, [], 0), "photo")


async def test_what_is_anothers_is_not_told(house: House) -> None:
    client, rival = await house.client(), await house.client("upl_sk_rival", "rival")
    job = (await client.begun("tint", {}))["id"]
    async with rival.socket("flow", job) as told:
        said = await told.next()
        assert said["type"] == "error" and said["code"] in ("FLOW_JOB_NOT_FOUND", "FLOW_NOT_AUTHORIZED")
    await client.ask("POST", f"/jobs/{job}/cancel")
    async with client.socket("flow", job) as told:
        assert (await told.until(*ENDS))["eventType"] == "flow-cancel"


@pytest.mark.parametrize("token", ["", "no.such.token", "wrong"])
async def test_a_bad_token_closes_with_its_code(house: House, token: str) -> None:
    client = await house.client()
    async with client.session.ws_connect(f"{client.base}/uploadista/ws/flow/some-job?token={token}") as line:
        said = await line.receive_json(timeout=10)
        assert (said["type"], said["code"]) == ("auth-failed", "AUTH_FAILED")
        await line.receive(timeout=10)
        assert line.close_code == 4001
