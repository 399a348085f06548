"""Pictures that tell whose they are, before and behind a flow."""

from __future__ import annotations

import io
import os

from PIL import Image

from tests.acceptance.uploadista.client import Client, Document, Done, assert_uploaded, assert_whole
from tests.acceptance.uploadista.conftest import House


def picture(number: int) -> bytes:
    """One of a colour of its own, with more bytes behind it than fit one chunk."""
    out = io.BytesIO()
    Image.new("RGB", (64, 48), colour(number)).save(out, "PNG")
    return out.getvalue() + os.urandom(70_000)


def colour(number: int) -> tuple[int, int, int]:
    return (number * 37 % 256, number * 91 % 256, number)


def noise(width: int = 700, height: int = 500) -> bytes:
    """What takes its time to be encoded."""
    out = io.BytesIO()
    Image.effect_noise((width, height), 90).convert("RGB").save(out, "JPEG")
    return out.getvalue()


async def fetched(house: House, output: Document) -> Image.Image:
    """What an output is, had by its address without a token."""
    assert output["nodeType"] == "storage-output-v1" and output["data"]["offset"] == output["data"]["size"]
    async with house.session.get(output["data"]["url"]) as answer:
        assert answer.status == 200
        return Image.open(io.BytesIO(await answer.read()))


async def sent_and_seen(house: House, client: Client, number: int) -> Done:
    done = await client.through("tint", picture(number), f"p{number}.png", "image/png")
    assert_whole(done, "photo")
    assert_uploaded(done)
    (output,) = done.outputs
    made = await fetched(house, output)
    assert made.size == (16, 12) and made.convert("RGB").getpixel((8, 6)) == colour(number)
    return done


async def given(client: Client, job: str, body: bytes | None = None, node: str = "photo") -> str:
    """The id of the upload that a job was given where it waits for one; without a `body` it is noise."""
    body = body or noise()
    said = {"originalName": f"{node}.jpg", "size": len(body)}
    await client.resumed(job, node, {"operation": "init", "storageId": "default", "metadata": said})
    upload = str((await client.awaited(job, node))["id"])
    await client.sent(upload, body)
    await client.resumed(job, node, {"operation": "finalize", "uploadId": upload})
    return upload
