"""`notify` tells a server outside about files, signed, and changes nothing about them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from pipeline.errors import AddressRefused, CallFailed, CallRejected, FlowInvalid, NodeInvalid
from pipeline.graph.flow import load_flow
from pipeline.imaging.sandbox import Sandbox
from pipeline.outbound import Outbound
from tests.graph.desk import Desk, file_at
from tests.nodes.studio import corners
from tests.outside import Outside, fixed, listening

SECRET = "whsec_" + base64.b64encode(b"a secret of twenty-four b").decode()


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[Outside]:
    async with listening() as receiver:
        receiver.answers |= {"/hook": fixed(200, b"x" * 100_000), "/away": fixed(503), "/gone": fixed(410)}
        yield receiver


@pytest.fixture
async def desk(desk: Desk) -> AsyncIterator[Desk]:
    """A desk whose project may call private addresses and has a secret to sign with."""
    desk.outbound, desk.private, desk.secrets = Outbound(), True, {"hook": SECRET}
    yield desk
    await desk.outbound.close()


def picture(folder: Path, name: str = "in.png") -> Path:
    path = folder / name
    corners(200, 100).save(path)
    return path


FLOW = """\
params: {{size: {{type: integer, default: 50}}}}
nodes:
  photo: {{type: input}}
  small: {{type: resize, width: "{{params.size}}"}}
  tell: {{type: notify, from: [photo, small], url: "{url}/hook?album={{metadata.album}}",
    secret: "{{secrets.hook}}", message: "{{file.name}} is {{width}} wide", headers: {{X-Own: here}}}}
  out: {{type: save, from: small, path: "out.png"}}
"""


async def test_the_message_tells_of_every_file_and_verifies(
    sandbox: Sandbox, desk: Desk, receiver: Outside, tmp_path: Path
) -> None:
    file = file_at(picture(tmp_path), "image/png")
    outputs = await desk.run(sandbox, FLOW.format(url=receiver.url), {"photo": [file]})
    [heard] = [heard for heard in receiver.heard if heard.path == "/hook"]
    told = Webhook(SECRET).verify(heard.body, dict(heard.headers))
    at = datetime.fromisoformat(told.pop("timestamp"))
    assert timedelta(0) <= datetime.now(UTC) - at < timedelta(minutes=1)
    small = {"node": "small", "name": "in-small.png", "mime": "image/png", "size": outputs[0].size,
             "sha256": outputs[0].sha256, "width": 50, "height": 25}  # fmt: skip
    given = {"node": "photo", "name": "in.png", "mime": "image/png", "size": file.size, "sha256": file.sha256,
             "width": 200, "height": 100}  # fmt: skip
    assert told == {
        "type": "flow.notified",
        "data": {
            "flow": "flow",
            "run": "run-1",
            "node": "tell",
            "text": "in.png is 200 wide",
            "files": [given, small],
            "params": {"size": 50},
            "metadata": {"album": "spring"},
        },
    }
    assert (heard.method, heard.query, heard.headers["X-Own"]) == ("POST", "album=spring", "here")
    assert heard.headers["Content-Type"] == "application/json" and heard.headers["webhook-id"].startswith("msg_")
    forged = heard.body.replace(b"200 wide", b"999 wide")
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(forged, dict(heard.headers))
    assert SECRET not in repr((desk.states, desk.told, desk.outcome)) + heard.body.decode()
    assert desk.states["tell"].status == "completed"


async def test_a_second_try_has_the_same_id_and_another_message_another(
    sandbox: Sandbox, desk: Desk, receiver: Outside, tmp_path: Path
) -> None:
    file, receiver.heard[:] = file_at(picture(tmp_path), "image/png"), []
    text = FLOW.format(url=receiver.url)
    await desk.run(sandbox, text, {"photo": [file]})
    (tmp_path / "run" / "again").mkdir()
    desk.folder = tmp_path / "run" / "again"
    await desk.run(sandbox, text, {"photo": [file]})
    desk.folder = tmp_path / "run" / "again" / "more"
    desk.folder.mkdir()
    await desk.run(sandbox, text, {"photo": [file]}, {"size": 40})
    first, again, other = [heard.headers["webhook-id"] for heard in receiver.heard]
    assert first == again != other


async def test_what_came_in_goes_on_unchanged(sandbox: Sandbox, desk: Desk, receiver: Outside, tmp_path: Path) -> None:
    text = f"""\
nodes:
  photos: {{type: input, many: true}}
  tell: {{type: notify, url: "{receiver.url}/hook"}}
  small: {{type: resize, width: 20}}
  out: {{type: save, from: tell, path: "same/{{file.name}}"}}
  thumbs: {{type: save, from: small, path: "{{file.stem}}.png"}}
"""
    receiver.heard[:] = []
    paths = [picture(tmp_path, "a.png"), picture(tmp_path, "b.png")]
    await desk.run(sandbox, text, {"photos": [file_at(path, "image/png") for path in paths]})
    [heard] = receiver.heard
    assert [file["name"] for file in orjson.loads(heard.body)["data"]["files"]] == ["a.png", "b.png"]
    assert "webhook-signature" not in heard.headers and heard.headers["webhook-timestamp"].isdigit()
    for path in paths:
        assert (desk.out / "same" / path.name).read_bytes() == path.read_bytes()
        assert desk.image(path.name).size == (20, 10)


async def test_a_file_that_is_no_picture_has_no_size_in_pixels(
    sandbox: Sandbox, desk: Desk, receiver: Outside, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    text = f'nodes:\n  doc: {{type: input}}\n  tell: {{type: notify, url: "{receiver.url}/hook"}}\n'
    outputs = await desk.run(sandbox, text, {"doc": [file_at(tmp_path / "notes.txt", "text/plain")]})
    digest = hashlib.sha256(b"hello").hexdigest()
    expected = {"node": "doc", "name": "notes.txt", "mime": "text/plain", "size": 5, "sha256": digest}
    told = orjson.loads(receiver.heard[-1].body)["data"]["files"]
    assert told == [expected | {"width": None, "height": None}] and outputs == []


@pytest.mark.parametrize(
    ("path", "error"), [("/away", CallFailed), ("/gone", CallRejected)], ids=["not now", "not any more"]
)
async def test_what_cannot_be_delivered_fails_the_node_unless_it_may_be_skipped(
    path: str, error: type[Exception], sandbox: Sandbox, desk: Desk, receiver: Outside, tmp_path: Path
) -> None:
    file = file_at(picture(tmp_path), "image/png")
    text = f"""\
nodes:
  photo: {{type: input}}
  tell: {{type: notify, url: "{receiver.url}{path}"}}
  out: {{type: save, from: photo, path: "out.png"}}
"""
    with pytest.raises(error) as caught:
        await desk.run(sandbox, text, {"photo": [file]})
    assert getattr(caught.value, "node", None) == "tell" and desk.states["tell"].status == "failed"
    await desk.run(sandbox, text.replace("type: notify,", "type: notify, on_error: skip,"), {"photo": [file]})
    assert desk.states["tell"].status == "skipped" and desk.states["out"].status == "completed"


async def test_without_a_network_there_is_an_error_and_no_message(
    sandbox: Sandbox, desk: Desk, receiver: Outside, tmp_path: Path
) -> None:
    desk.private, receiver.heard[:] = False, []
    text = FLOW.format(url=receiver.url)
    with pytest.raises(AddressRefused):
        await desk.run(sandbox, text, {"photo": [file_at(picture(tmp_path), "image/png")]})
    assert receiver.heard == []


@pytest.mark.parametrize(("secret", "reason"), [("no base64!", "base64"), (None, "no secret `hook`")])
async def test_a_secret_of_no_use_sends_nothing(
    secret: str | None, reason: str, sandbox: Sandbox, desk: Desk, receiver: Outside, tmp_path: Path
) -> None:
    desk.secrets, receiver.heard[:] = {"hook": secret} if secret else {}, []
    with pytest.raises(NodeInvalid, match=reason) as caught:
        await desk.run(sandbox, FLOW.format(url=receiver.url), {"photo": [file_at(picture(tmp_path), "image/png")]})
    assert receiver.heard == [] and "no base64!" not in str(caught.value)


def test_no_secret_goes_into_the_text() -> None:
    text = FLOW.format(url="https://x.example").replace("{file.name} is", "{secrets.hook}")
    with pytest.raises(FlowInvalid, match="`message` takes no secrets"):
        load_flow("flow", text)
