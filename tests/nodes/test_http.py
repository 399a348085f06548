"""`http` goes on with the file a server answers, `ask` with what it says of a file; in real flows, over loopback."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import AsyncIterator
from email import message_from_bytes
from pathlib import Path

import pytest
from aiohttp import web
from PIL import Image, ImageOps

from pipeline.errors import AddressRefused, AnswerInvalid, CallFailed, CallRejected, FlowInvalid, NodeInvalid
from pipeline.graph.flow import load_flow
from pipeline.imaging.sandbox import Sandbox
from pipeline.outbound import Outbound
from tests.graph.desk import Desk, file_at
from tests.nodes.studio import PHOTO, corners, difference, opened, quarters
from tests.outside import Outside, fixed, listening

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture(scope="module")
async def service() -> AsyncIterator[Outside]:
    async with listening() as service:
        service.answers |= {"/mirror": mirrored, "/cut": without_background, "/form": mirrored_form}
        yield service


@pytest.fixture
async def desk(desk: Desk) -> AsyncIterator[Desk]:
    """A desk whose project may call private addresses."""
    desk.outbound, desk.private = Outbound(), True
    yield desk
    await desk.outbound.close()


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


async def mirrored(request: web.Request, sent: bytes) -> web.StreamResponse:
    with Image.open(io.BytesIO(sent)) as image:
        return web.Response(body=png(ImageOps.mirror(image)), content_type="text/plain")


async def mirrored_form(request: web.Request, sent: bytes) -> web.StreamResponse:
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    parts = {
        part.get_param("name", header="content-disposition"): part for part in message_from_bytes(head + sent).walk()
    }
    assert parts["size"].get_payload() == "auto"
    assert parts["image"].get_filename() == "in.png" and parts["image"].get_content_type() == "image/png"
    return await mirrored(request, parts["image"].get_payload(decode=True))


async def without_background(request: web.Request, sent: bytes) -> web.StreamResponse:
    """What is white becomes transparent, as a service for background removal answers a picture."""
    with Image.open(io.BytesIO(sent)) as image:
        mask = image.convert("L").point(lambda value: 0 if value > 250 else 255)
        image.putalpha(mask)
        return web.Response(body=png(image))


def picture(folder: Path, name: str = "in.png") -> Path:
    path = folder / name
    corners(200, 100).save(path)
    return path


def flow_of(node: str, *, input: str = "{type: input}", rest: str = 'out: {type: save, path: "out.png"}') -> str:
    return f"nodes:\n  photo: {input}\n  called: {node}\n  {rest}\n"


# http


async def test_a_photo_comes_back_as_its_mirror_image(sandbox: Sandbox, desk: Desk, service: Outside) -> None:
    text = f"""\
nodes:
  photo: {{type: input}}
  small: {{type: resize, width: 640}}
  turned: {{type: http, url: "{service.url}/mirror?of={{file.stem}}", accept: [image/*]}}
  out: {{type: save, path: "{{file.stem}}-{{node}}.png"}}
"""
    [output] = await desk.run(sandbox, text, {"photo": [file_at(PHOTO, "image/jpeg")]})
    heard = service.heard[-1]
    assert (heard.method, heard.query, heard.headers["Accept"]) == ("POST", "of=photo", "image/*")
    sent = Image.open(io.BytesIO(heard.body))
    assert sent.size == (640, 360) and heard.headers["Content-Type"] == "image/jpeg"
    assert output.path == "photo-turned.png"
    assert difference(desk.image(output.path), ImageOps.mirror(sent)) == 0
    made = desk.made[output.path].artifact
    assert (made.name, made.mime, made.origin and made.origin.name) == ("photo-small.png", "image/png", "photo.jpg")
    assert made.sha256 == hashlib.sha256((desk.out / output.path).read_bytes()).hexdigest()
    assert desk.outcome.learned == {}


async def test_picture_steps_follow_what_was_answered(
    sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path
) -> None:
    """The corners are red, green, blue, white; white is cut out, and yellow put behind."""
    text = flow_of(
        f'{{type: http, url: "{service.url}/cut"}}',
        rest='half: {type: resize, width: 100}\n  out: {type: save, path: "o.jpg", background: "#ffff00", quality: 95}',
    )
    await desk.run(sandbox, text, {"photo": [file_at(picture(tmp_path), "image/png")]})
    found = desk.image("o.jpg")
    assert found.size == (100, 50)
    expected = [RED, GREEN, BLUE, (255, 255, 0)]
    for seen, wanted in zip(quarters(found), expected, strict=True):
        assert max(abs(one - other) for one, other in zip(seen, wanted, strict=True)) < 6


async def test_a_form_with_fields_and_headers(sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path) -> None:
    node = f"""{{type: http, url: "{service.url}/form", method: PUT, body: multipart, part: image,
    fields: {{size: auto}}, headers: {{X-Name: "{{file.name}}", accept: image/png}}}}"""
    await desk.run(sandbox, flow_of(node), {"photo": [file_at(picture(tmp_path), "image/png")]})
    assert quarters(desk.image("out.png")) == [GREEN, RED, WHITE, BLUE]
    heard = service.heard[-1]
    assert (heard.method, heard.headers["X-Name"], heard.headers.getall("Accept")) == ("PUT", "in.png", ["image/png"])


async def test_many_files_are_sent_one_by_one(sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path) -> None:
    text = flow_of(
        f'{{type: http, url: "{service.url}/mirror"}}',
        input="{type: input, many: true}",
        rest='out: {type: save, path: "{file.stem}.png"}',
    )
    files = [file_at(picture(tmp_path, name), "image/png") for name in ("a.png", "b.png")]
    before = len(service.heard)
    outputs = await desk.run(sandbox, text, {"photo": files})
    assert [output.path for output in outputs] == ["a.png", "b.png"] and len(service.heard) == before + 2
    assert all(quarters(desk.image(output.path)) == [GREEN, RED, WHITE, BLUE] for output in outputs)


async def test_any_file_may_be_sent_and_answered(
    sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    service.answers["/pdf"] = fixed(200, b"%PDF-1.4\n%%EOF", Content_Type="image/png")
    text = flow_of(f'{{type: http, url: "{service.url}/pdf"}}', rest="out: {type: save}")
    await desk.run(sandbox, text, {"photo": [file_at(tmp_path / "notes.txt", "text/plain")]})
    assert service.heard[-1].body == b"hello"
    [made] = desk.made.values()
    assert (made.artifact.name, made.artifact.mime, made.artifact.image) == ("notes.pdf", "application/pdf", None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"),
        (b"<html><body>Sign in</body></html>", "it is text/html, which is not one of image/*"),
        (bytes(2001), "it is longer than 2000 bytes"),
    ],
)
async def test_an_answer_of_no_use_fails_the_node(
    body: bytes, reason: str, sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path
) -> None:
    service.answers["/bad"] = fixed(200, body, Content_Type="image/png")
    text = flow_of(f'{{type: http, url: "{service.url}/bad", accept: [image/*], max_answer: 2KB}}')
    with pytest.raises(AnswerInvalid, match=reason) as caught:
        await desk.run(sandbox, text, {"photo": [file_at(picture(tmp_path), "image/png")]})
    assert caught.value.node == "called" and desk.states["called"].status == "failed" and desk.made == {}


async def test_a_picture_that_is_broken_is_told_as_one(
    sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path
) -> None:
    service.answers["/bad"] = fixed(200, png(corners(200, 100))[:100])
    text = flow_of(f'{{type: http, url: "{service.url}/bad"}}')
    with pytest.raises(Exception, match="cannot be read") as caught:
        await desk.run(sandbox, text, {"photo": [file_at(picture(tmp_path), "image/png")]})
    assert getattr(caught.value, "node", None) == "called"


async def test_a_passing_fault_is_tried_again(sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path) -> None:
    tries = 0

    async def second(request: web.Request, sent: bytes) -> web.StreamResponse:
        nonlocal tries
        tries += 1
        return await mirrored(request, sent) if tries == 2 else web.Response(status=503)

    service.answers["/second"] = second
    file = file_at(picture(tmp_path), "image/png")
    text = flow_of(f'{{type: http, url: "{service.url}/second", retries: 1}}')
    await desk.run(sandbox, text, {"photo": [file]})
    assert tries == 2 and quarters(desk.image("out.png")) == [GREEN, RED, WHITE, BLUE]
    tries = 2
    with pytest.raises(CallFailed):
        await desk.run(sandbox, text, {"photo": [file]})
    assert tries == 4
    service.answers["/gone"] = fixed(410)
    with pytest.raises(CallRejected):
        await desk.run(sandbox, text.replace("/second", "/gone"), {"photo": [file]})
    assert service.heard[-1].path == "/gone" and service.heard[-2].path == "/second"


async def test_who_may_not_reach_private_addresses_does_not(
    sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path
) -> None:
    desk.private = False
    before = len(service.heard)
    text = flow_of(f'{{type: http, url: "{service.url}/mirror"}}')
    with pytest.raises(AddressRefused):
        await desk.run(sandbox, text, {"photo": [file_at(picture(tmp_path), "image/png")]})
    problem = desk.states["called"].error
    assert problem is not None and problem.code == "ADDRESS_REFUSED" and len(service.heard) == before


# ask

ASKED = """\
nodes:
  photo: {{type: input}}
  caption: {{type: ask, url: "{url}/caption"}}
  safe: {{type: conditional, field: facts.caption.rating.score, operator: lessThan, value: 0.5}}
  out: {{type: save, from: safe.then, path: "out.png"}}
"""


async def caption(request: web.Request, sent: bytes) -> web.StreamResponse:
    with Image.open(io.BytesIO(sent)) as image:
        found = {"text": f"{image.width} by {image.height}", "rating": {"score": image.width / 1000}, "tags": ["a"]}
    return web.json_response(found)


@pytest.mark.parametrize(("width", "saved"), [(200, True), (600, False)])
async def test_what_is_answered_decides_the_way(
    width: int, saved: bool, sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path
) -> None:
    service.answers["/caption"] = caption
    corners(width, 100).save(tmp_path / "in.png")
    file = file_at(tmp_path / "in.png", "image/png")
    await desk.run(sandbox, ASKED.format(url=service.url), {"photo": [file]})
    found = {"text": f"{width} by 100", "rating": {"score": width / 1000}, "tags": ["a"]}
    assert desk.outcome.facts == {"caption": found} and desk.outcome.learned == {file.id: {"ask": found}}
    assert desk.states["out"].status == ("completed" if saved else "skipped")
    if saved:
        assert (desk.out / "out.png").read_bytes() == (tmp_path / "in.png").read_bytes()
    assert [path.name for path in desk.folder.iterdir()] == []


async def test_a_picture_that_was_made_may_be_asked_about(
    sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path
) -> None:
    service.answers["/caption"] = caption
    text = flow_of(
        f'{{type: ask, from: small, url: "{service.url}/caption"}}',
        input="{type: input}\n  small: {type: resize, width: 50}",
        rest='out: {type: save, from: small, path: "out.png"}',
    )
    await desk.run(sandbox, text, {"photo": [file_at(picture(tmp_path), "image/png")]})
    assert desk.outcome.facts["called"]["text"] == "50 by 25" and desk.outcome.learned == {}
    assert opened(desk.out / "out.png").size == (50, 25)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[1, 2]", "it is JSON but no object"),
        (b'"text"', "it is JSON but no object"),
        (b"", "it is not JSON"),
        (b"caption: a cat", "it is not JSON"),
        (b'{"a": NaN}', "it is not JSON"),
        (b'{"a": "\xff"}', "it is not JSON"),
        (b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", "nested more than 16 deep"),
        (b'{"a":' + b"[" * 16 + b"]" * 16 + b"}", "nested more than 16 deep"),
        (b'{"a": "' + b"x" * 64_000 + b'"}', "longer than 64000 bytes"),
    ],
)
async def test_what_is_no_object_is_no_answer(
    body: bytes, reason: str, sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path
) -> None:
    service.answers["/caption"] = fixed(200, body)
    with pytest.raises(AnswerInvalid, match=reason) as caught:
        await desk.run(sandbox, ASKED.format(url=service.url), {"photo": [file_at(picture(tmp_path), "image/png")]})
    assert caught.value.node == "caption" and list(desk.folder.iterdir()) == []


async def test_the_deepest_answer_is_kept(sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path) -> None:
    body = b'{"a":' + b"[" * 15 + b"]" * 15 + b"}"
    service.answers["/caption"] = fixed(200, body)
    text = flow_of(f'{{type: ask, url: "{service.url}/caption"}}', rest="out: {type: save}")
    await desk.run(sandbox, text, {"photo": [file_at(picture(tmp_path), "image/png")]})
    assert desk.outcome.facts == {"called": json.loads(body)}


# Secrets


async def test_secrets_stand_in_what_is_sent_and_nowhere_else(
    sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path
) -> None:
    desk.secrets = {"api": "k3y-value", "tenant": "acme"}
    node = f"""{{type: http, url: "{service.url}/{{secrets.tenant}}/mirror", body: multipart,
    headers: {{Authorization: "Bearer {{secrets.api}}"}},
    fields: {{key: "{{secrets.api}}", plain: "{{{{secrets.api}}}}"}}}}"""
    service.answers["/acme/mirror"] = fixed(500)
    text = flow_of(node)
    with pytest.raises(CallFailed) as caught:
        await desk.run(sandbox, text, {"photo": [file_at(picture(tmp_path), "image/png")]})
    heard = service.heard[-1]
    assert heard.path == "/acme/mirror" and heard.headers["Authorization"] == "Bearer k3y-value"
    assert heard.body.count(b"k3y-value") == 1 and b"\r\n\r\n{secrets.api}\r\n" in heard.body
    told = repr((desk.states, desk.told, desk.outcome, caught.value.facts, str(caught.value)))
    assert "k3y-value" not in told and "acme" not in told


async def test_nobody_can_smuggle_in_a_placeholder(
    sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path
) -> None:
    """File names, metadata and params come from strangers."""
    desk.secrets = {"api": "k3y-value"}
    text = f"""\
params: {{a: {{type: string}}, b: {{type: string}}}}
nodes:
  photo: {{type: input}}
  called: {{type: http, url: "{service.url}/mirror", headers: {{X-A: "{{file.stem}}", X-B: "{{params.a}}{{params.b}}",
    X-C: "{{metadata.note}} {{secrets.api}}"}}}}
  out: {{type: save, path: "out.png"}}
"""
    file = file_at(picture(tmp_path, "{secrets.api}.png"), "image/png", metadata={"note": "{{{secrets.api}}}"})
    await desk.run(sandbox, text, {"photo": [file]}, {"a": "{secr", "b": "ets.api}"})
    headers = service.heard[-1].headers
    assert headers["X-A"] == headers["X-B"] == "{secrets.api}"
    assert headers["X-C"] == "{{{secrets.api}}} k3y-value"


async def test_an_unknown_secret_is_named(sandbox: Sandbox, desk: Desk, service: Outside, tmp_path: Path) -> None:
    before = len(service.heard)
    text = flow_of(f'{{type: http, url: "{service.url}/", headers: {{X: "{{secrets.apo}}"}}}}')
    with pytest.raises(NodeInvalid, match="the settings of the project have no secret `apo`") as caught:
        await desk.run(sandbox, text, {"photo": [file_at(picture(tmp_path), "image/png")]})
    assert caught.value.node == "called" and len(service.heard) == before


# What is caught before any run


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        ('{type: http}', "`url` is required"),
        ('{type: http, url: "ftp://x.example/"}', "url"),
        ('{type: http, url: "https://x.example/", headers: {Host: x}}', "The header Host follows from the request"),
        ('{type: http, url: "https://x.example/", headers: {content-length: "1"}}', "content-length follows"),
        ('{type: http, url: "https://x.example/", headers: {"a b": x}}', "`a b` should match"),
        ('{type: http, url: "https://x.example/", fields: {a: b}}', "Only a multipart body has fields"),
        ('{type: http, url: "https://x.example/", method: GET}', "method"),
        ('{type: http, url: "https://x.example/", within: 11m}', "within"),
        ('{type: http, url: "https://x.example/", accept: ["{secrets.a}"]}', "`accept` takes no secrets"),
        ('{type: resize, width: "{secrets.a}"}', "`width` takes no secrets"),
        ('{type: http, url: "https://x.example/{secrets.}"}', "There is no placeholder `{secrets.}`"),
        ('{type: http, url: "https://x.example/{env.HOME}"}', "There is no placeholder `{env.HOME}`"),
        ('{type: ask, url: "https://x.example/", max_answer: 2MB}', "max_answer"),
    ],
)  # fmt: skip
def test_a_flow_that_cannot_be_right_is_refused(node: str, complaint: str) -> None:
    with pytest.raises(FlowInvalid) as caught:
        load_flow("flow", flow_of(node))
    assert any(complaint in str(found) for found in caught.value.facts["complaints"])


def test_a_secret_may_stand_where_it_is_sent() -> None:
    node = (
        '{type: http, url: "{secrets.url}", body: multipart, fields: {a: "{secrets.b}"}, headers: {X: "{secrets.c-d}"}}'
    )
    assert load_flow("flow", flow_of(node)).nodes["called"].fixed is None
