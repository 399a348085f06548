from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from pipeline.documents import read_document
from pipeline.graph.schema import flow_schema
from pipeline.nodes import INDEX

FLOWS = Path(__file__).parent.parent.parent / "flows"


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    schema = flow_schema()
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert json.loads((FLOWS / "flow.schema.json").read_text()) == flow_schema()


@pytest.mark.parametrize("path", sorted(FLOWS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_flows_fit(path: Path, validator: Draft7Validator) -> None:
    assert list(validator.iter_errors(read_document(path.read_text(), path.name).value)) == []


def node(written: dict[str, Any]) -> dict[str, Any]:
    return {"nodes": {"photo": {"type": "input"}, "x": written}}


@pytest.mark.parametrize(
    "written",
    [
        {"type": "resize", "width": "{params.width}", "fit": "{params.fit}"},
        {"type": "resize", "width": 3, "timeout": "30s", "from": "photo"},
        {"type": "save", "from": ["photo", "big.then"], "path": "{file.id}.webp", "quality": "{params.q}"},
        {"type": "watermark", "from": {"image": "photo", "mark": "photo"}},
        {"type": "watermark", "image": "asset:logo.png"},
    ],
)
def test_what_fits(written: dict[str, Any], validator: Draft7Validator) -> None:
    assert [error.message for error in validator.iter_errors(node(written))] == []


@pytest.mark.parametrize(
    "written",
    [
        {"type": "resise"},
        {"width": 3},
        {"type": "resize", "widht": 3},
        {"type": "resize", "width": "wide"},
        {"type": "resize", "width": 3, "fit": "kover"},
        {"type": "resize", "width": 3, "keep": "{params.keep}"},
        {"type": "resize", "width": 3, "from": ["photo", "photo2"]},
        {"type": "watermark", "from": {"imgae": "photo"}},
        {"type": "input", "from": "photo"},
        {"type": "input", "many": "{params.many}"},
    ],
)
def test_what_does_not_fit(written: dict[str, Any], validator: Draft7Validator) -> None:
    assert list(validator.iter_errors(node(written))) != []


def test_other_levels(validator: Draft7Validator) -> None:
    assert list(validator.iter_errors({"nodes": {"B": {"type": "input"}}})) != []
    assert list(validator.iter_errors({"nodes": {"a": {"type": "input"}}, "titel": "x"})) != []
    assert list(validator.iter_errors({"nodes": {"a": {"type": "input"}}, "params": {"p": {"type": "int"}}})) != []
    assert list(validator.iter_errors({"title": "x"})) != []


def test_every_type_and_parameter_is_described() -> None:
    schema = flow_schema()
    choices = schema["definitions"]["node"]["properties"]["type"]["anyOf"]
    assert [choice["const"] for choice in choices] == list(INDEX)
    assert all(choice["description"] for choice in choices)
    for name, cls in INDEX.items():
        properties = schema["definitions"][f"node-{name}"]["properties"]
        wanted = {field.alias or key for key, field in cls.model_fields.items()} - (set() if cls.inputs else {"from"})
        assert set(properties) == wanted
