"""What an account defines: fields of custom metadata, named transformations, saved extensions and webhooks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.dialects.imagekit.desk import Desk
from tests.api.house import photo

V1 = "/imagekit/v1"
FIELDS = f"{V1}/customMetadataFields"
UNKNOWN = "0123456789abcdef01234567"

SCHEMAS: list[tuple[dict[str, Any], Any, list[Any]]] = [
    ({"type": "Text", "minLength": 2, "maxLength": 5}, "Nike", ["N", "Adidas", 5, True]),
    ({"type": "Textarea", "maxLength": 500}, "a\nb", [5]),
    ({"type": "Number", "minValue": 1000, "maxValue": 3000}, 2459.59, [900, 3001, "1500", True]),
    ({"type": "Date", "minValue": "2020-01-01"}, "2022-11-30T10:11:12Z", ["2019-01-01", "soon", 5]),
    ({"type": "Boolean"}, False, ["false", 0]),
    ({"type": "SingleSelect", "selectOptions": ["small", 30, True]}, 30, ["30", "big", 1]),
    ({"type": "MultiSelect", "selectOptions": ["small", 30, True]}, ["small", True], ["small", ["big"]]),
]
"""Schemas, a value that fits each, and some that do not."""


async def create(ik: Desk, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = await ik.ok("POST", FIELDS, {"name": name, "label": f"The {name}", "schema": schema}, 201)
    return made


async def test_fields_of_every_type_take_what_fits(ik: Desk) -> None:
    id = (await ik.upload())["fileId"]
    path, kept = f"{V1}/files/{id}/details", dict[str, Any]()
    for schema, value, wrong in SCHEMAS:
        name = schema["type"]
        made = await create(ik, name, schema)
        assert made == {"id": made["id"], "name": name, "label": f"The {name}", "schema": schema}
        kept[name] = value
        assert (await ik.ok("PATCH", path, {"customMetadata": {name: value}}))["customMetadata"] == kept
        for one in wrong:
            answer = await ik.send("PATCH", path, {"customMetadata": {name: one}})
            assert (answer.status, answer.document["errors"].keys()) == (400, {name}), one
    assert (await ik.ok("GET", path))["customMetadata"] == kept
    assert [one["name"] for one in await ik.ok("GET", FIELDS)] == [schema["type"] for schema, _, _ in SCHEMAS]


async def test_a_field_is_changed_and_deleted(ik: Desk) -> None:
    made = await create(ik, "price", {"type": "Number", "minValue": 1, "maxValue": 9})
    path = f"{FIELDS}/{made['id']}"
    change = {"label": "Price", "schema": {"type": "Text", "minValue": 0}, "description": "In euros"}
    changed = await ik.ok("PATCH", path, change)
    schema = {"type": "Number", "minValue": 0, "maxValue": 9}
    assert changed == {**made, "label": "Price", "schema": schema, "description": "In euros"}
    file = await ik.upload(customMetadata='{"price": 0}', responseFields="customMetadata")
    assert file["customMetadata"] == {"price": 0}
    await ik.ok("DELETE", path, status=204)
    assert await ik.ok("GET", FIELDS, query={"includeDeleted": "false"}) == []
    assert await ik.ok("GET", FIELDS, query={"includeDeleted": "true"}) == [changed]
    assert (await ik.ok("GET", f"{V1}/files/{file['fileId']}/details"))["customMetadata"] == {}
    again = {"name": "price", "label": "Other", "schema": {"type": "Text"}}
    taken = (400, "A custom metadata field with this name already exists")
    assert await ik.refusal("POST", FIELDS, again) == taken
    for method in ("PATCH", "DELETE"):
        gone = (404, "No such custom metadata field exists")
        assert await ik.refusal(method, path, {"label": "x"}) == gone
        assert await ik.refusal(method, f"{FIELDS}/x", {"label": "x"}) == (
            400,
            "Your request contains invalid ID parameter.",
        )


async def test_fields_that_cannot_be(ik: Desk) -> None:
    await create(ik, "brand", {"type": "Text"})
    wrong: list[tuple[dict[str, Any], set[str]]] = [
        ({"type": "Money"}, {"type"}),
        ({"minValue": 1}, {"type"}),
        ({"type": "Number", "minValue": "a", "maxLength": 5}, {"minValue", "maxLength"}),
        ({"type": "Text", "minValue": 5, "minLength": "x"}, {"minValue", "minLength"}),
        ({"type": "Number", "minValue": 5, "maxValue": 4}, {"maxValue"}),
        ({"type": "Date", "minValue": 5}, {"minValue"}),
        ({"type": "SingleSelect"}, {"selectOptions"}),
        ({"type": "MultiSelect", "selectOptions": []}, {"selectOptions"}),
        ({"type": "MultiSelect", "selectOptions": [["a"]]}, {"selectOptions"}),
        ({"type": "Text", "selectOptions": ["a"]}, {"selectOptions"}),
        ({"type": "Text", "isValueRequired": True}, {"defaultValue"}),
        ({"type": "Text", "isValueRequired": "yes"}, {"isValueRequired"}),
        ({"type": "Number", "maxValue": 5, "defaultValue": 6}, {"defaultValue"}),
        ({"type": "Text", "colour": "red"}, {"colour"}),
    ]
    for schema, faults in wrong:
        answer = await ik.send("POST", FIELDS, {"name": "a", "label": "a", "schema": schema})
        assert (answer.status, answer.document.get("errors", {}).keys()) == (400, faults), schema
    text, taken = {"type": "Text"}, "A custom metadata field with this {} already exists"
    for body, message in (
        ({"label": "a", "schema": {}}, "Your request is missing name parameter."),
        ({"name": "a", "schema": {}}, "Your request is missing label parameter."),
        ({"name": "a", "label": "a"}, "Your request is missing schema parameter."),
        ({"name": "brand", "label": "a", "schema": text}, taken.format("name")),
        ({"name": "a", "label": "The brand", "schema": text}, taken.format("label")),
    ):
        assert await ik.refusal("POST", FIELDS, body) == (400, message)
    reserved = {"name": "_internal_original_created_datetime", "label": "a", "schema": {"type": "Date"}}
    assert (
        (await ik.refusal("POST", FIELDS, reserved))[0]
        == (await ik.refusal("POST", FIELDS, {**reserved, "name": "a b"}))[0]
        == 400
    )
    field = (await ik.ok("GET", FIELDS))[0]["id"]
    assert (await ik.refusal("PATCH", f"{FIELDS}/{field}", {}))[0] == 400


@pytest.mark.usefixtures("working")
async def test_named_transformations(ik: Desk) -> None:
    root = f"{V1}/named-transformations"
    made = await ik.ok("POST", root, {"name": "small_one", "transformation": "w-30,h-20"}, 201)
    assert made.keys() == {"id", "name", "transformation", "enabled", "createdAt", "updatedAt"}
    assert (made["name"], made["transformation"], made["enabled"]) == ("small_one", "w-30,h-20", True)
    path = f"{root}/{made['id']}"
    assert await ik.ok("GET", path) == made
    assert await ik.ok("GET", root) == [made]
    await ik.upload(photo(120, 80), "named.jpg")
    assert (await ik.fetch("/tr:n-small_one/named.jpg")).status == 200
    changed = await ik.ok("PATCH", path, {"name": "tiny", "transformation": "tr:w-10", "enabled": False})
    assert (changed["name"], changed["transformation"], changed["enabled"]) == ("tiny", "w-10", False)
    for name in ("small_one", "tiny"):
        assert (await ik.fetch(f"/tr:n-{name}/named.jpg")).status == 400
    await ik.ok("PATCH", path, {"enabled": True})
    assert (await ik.fetch("/tr:n-tiny/named.jpg")).status == 200
    taken = (400, "A named transformation with this name already exists.")
    other = (await ik.ok("POST", root, {"name": "other", "transformation": "w-5"}, 201))["id"]
    assert await ik.refusal("POST", root, {"name": "tiny", "transformation": "w-5"}) == taken
    assert await ik.refusal("PATCH", f"{root}/{other}", {"name": "tiny"}) == taken
    for body in (
        {"name": "a-b", "transformation": "w-5"},
        {"name": "a", "transformation": "l-image,i-x"},
        {"name": "a"},
    ):
        assert (await ik.refusal("POST", root, body))[0] == 400
    await ik.ok("DELETE", path, status=204)
    for method in ("GET", "PATCH", "DELETE"):
        assert (await ik.refusal(method, path))[0] == 404
    assert [one["name"] for one in await ik.ok("GET", root)] == ["other"]


async def test_saved_extensions(ik: Desk) -> None:
    root = f"{V1}/saved-extensions"
    config = {"name": "google-auto-tagging", "maxTags": 5, "minConfidence": 95}
    made = await ik.ok("POST", root, {"name": "Tags", "description": "Finds tags", "config": config}, 201)
    assert made["id"].startswith("ext_") and made["config"] == config
    path = f"{root}/{made['id']}"
    changed = await ik.ok("PATCH", path, {"name": "Other", "config": {"name": "ai-auto-description"}})
    assert (changed["name"], changed["description"]) == ("Other", "Finds tags")
    assert await ik.ok("GET", path) == changed
    assert await ik.ok("GET", root) == [changed]
    # Used by an update: what is saved stands in its place, and here no flow is named for it.
    id = (await ik.upload())["fileId"]
    wish = {"extensions": [{"name": "saved-extension", "id": made["id"]}]}
    status, message = await ik.refusal("PATCH", f"{V1}/files/{id}/details", wish)
    assert (status, "ai-auto-description is not enabled" in message) == (400, True)
    for body in ({"name": "a", "description": "b"}, {"name": "a", "description": "b", "config": {"name": "none"}}, {}):
        assert (await ik.refusal("POST", root, body))[0] == 400
    await ik.ok("DELETE", path, status=204)
    for method in ("GET", "PATCH", "DELETE"):
        assert (await ik.refusal(method, path))[0] == 404


async def test_webhooks(ik: Desk) -> None:
    root = f"{V1}/accounts/webhooks"
    wish = {"endpoint": "https://hooks.example/a", "events": ["file.created", "folder.created"]}
    made = await ik.ok("POST", root, wish, 201)
    assert made.keys() == {"id", "endpoint", "events", "enabled", "secret", "createdAt", "updatedAt"}
    assert {name: made[name] for name in wish} == wish
    assert (made["enabled"], made["secret"].startswith("whsec_")) == (True, True)
    path = f"{root}/{made['id']}"
    assert await ik.ok("GET", path) == made
    assert await ik.ok("GET", root) == [made]
    change = {
        "endpoint": "https://hooks.example/b",
        "events": ["file.deleted", "file-version.deleted"],
        "enabled": False,
    }
    changed = await ik.ok("PATCH", path, change)
    assert {name: changed[name] for name in change} == change
    assert (await ik.ok("PATCH", path, {"enabled": True}))["enabled"] is True
    taken = (400, "A webhook with this endpoint already exists.")
    other = {"endpoint": "https://hooks.example/b", "events": ["file.created"]}
    assert await ik.refusal("POST", root, other) == taken
    for body in (
        {"endpoint": "ftp://hooks.example", "events": ["file.created"]},
        {"endpoint": "https://hooks.example/c", "events": ["file.moved"]},
        {"endpoint": "https://hooks.example/c", "events": []},
        {"events": ["file.created"]},
    ):
        assert (await ik.refusal("POST", root, body))[0] == 400, body
    disabled = await ik.ok("POST", root, {**other, "endpoint": "https://hooks.example/d", "enabled": False}, 201)
    assert disabled["enabled"] is False
    await ik.ok("DELETE", path, status=204)
    for method in ("GET", "PATCH", "DELETE"):
        assert await ik.refusal(method, path) == (404, "The requested webhook does not exist.")


async def test_what_is_known_of_an_account_and_what_is_not(ik: Desk) -> None:
    root = f"{V1}/accounts"
    assert await ik.ok("GET", f"{root}/origins") == []
    (endpoint,) = await ik.ok("GET", f"{root}/url-endpoints")
    assert endpoint["id"] == "default" and await ik.ok("GET", f"{root}/url-endpoints/default") == endpoint
    for method, path, status in (
        ("POST", "origins", 400),
        ("GET", f"origins/{UNKNOWN}", 404),
        ("PUT", f"origins/{UNKNOWN}", 404),
        ("DELETE", f"origins/{UNKNOWN}", 404),
        ("POST", "url-endpoints", 400),
        ("GET", "url-endpoints/x", 404),
        ("PUT", "url-endpoints/default", 400),
        ("DELETE", "url-endpoints/default", 400),
        ("DELETE", "url-endpoints/x", 404),
    ):
        assert (await ik.refusal(method, f"{root}/{path}"))[0] == status, path
    sizes = [(await ik.upload(content, "a.txt"))["size"] for content in (b"12345", b"678")]
    dates = {"startDate": "2024-01-01", "endDate": "2024-01-31"}
    assert await ik.ok("GET", f"{root}/usage", query=dates) == {"mediaLibraryStorageBytes": sum(sizes)}
    assert (await ik.refusal("GET", f"{root}/usage-analytics", query=dates))[0] == 400
    for wrong in ({}, {"startDate": "x"}, {"endDate": "2023-01-01"}, {"endDate": "2024-05-01"}):
        query = {**dates, **wrong} if wrong else {}
        assert (await ik.refusal("GET", f"{root}/usage", query=query))[0] == 400, wrong
