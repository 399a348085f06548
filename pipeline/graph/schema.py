"""The JSON Schema of a flow file, for editors: draft-07, the draft that YAML language servers read."""

from __future__ import annotations

import inspect
from typing import Any

from pipeline.graph.flow import BOUND_AT_LOAD, NAME, FlowDocument
from pipeline.graph.placeholders import NAMES
from pipeline.nodes import INDEX
from pipeline.nodes.base import Node

PLACEHOLDER = {
    "type": "string",
    "pattern": r"^\{[^{}]+\}$",
    "description": "; ".join(f"{{{name}}}: {meaning}" for name, meaning in NAMES.items()),
    "examples": ["{params.quality}"],
}
NAME_PATTERN = f"^{NAME.pattern}$"
SOURCE = {"type": "string", "pattern": r"^[a-z][A-Za-z0-9_-]{0,63}(\.[a-z]+)?$", "examples": ["photo", "big.then"]}


def flow_schema() -> dict[str, Any]:
    """What a flow file may hold, with the parameters of every node type."""
    definitions: dict[str, Any] = {}
    head = _hoisted(FlowDocument.model_json_schema(ref_template="#/definitions/{model}"), definitions)
    definitions |= {"node": _any_node(), "source": SOURCE, "placeholder": PLACEHOLDER}
    for name, cls in INDEX.items():
        definitions[f"node-{name}"] = _node_type(name, cls, definitions)
    properties = head["properties"] | {"nodes": _nodes(), "params": head["properties"]["params"] | _names()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Safelight flow",
        "description": "The file's name is the flow's id.",
        "type": "object",
        "properties": {name: _tidy(value) for name, value in properties.items()},
        "required": ["nodes"],
        "additionalProperties": False,
        "definitions": {name: _tidy(definitions[name]) for name in sorted(definitions)},
    }


def _nodes() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "Node id -> its type, its inputs (`from`) and its parameters; without `from`, the node above.",
        "propertyNames": {"pattern": NAME_PATTERN},
        "additionalProperties": {"$ref": "#/definitions/node"},
        "minProperties": 1,
        "maxProperties": 500,
    }


def _names() -> dict[str, Any]:
    return {"propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_-]{0,63}$"}}


def _any_node() -> dict[str, Any]:
    choices = [{"const": name, "description": _said(cls)} for name, cls in INDEX.items()]
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"description": "What the node does.", "anyOf": choices}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
                "then": {"$ref": f"#/definitions/node-{name}"},
            }
            for name in INDEX
        ],
    }


def _node_type(name: str, cls: type[Node], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _hoisted(cls.model_json_schema(ref_template="#/definitions/{model}"), definitions)
    properties = {
        key: value if key in BOUND_AT_LOAD or not cls.inputs else _or_placeholder(value)
        for key, value in schema["properties"].items()
    }
    properties["type"] = {"const": name}
    properties.pop("from", None)
    if cls.inputs:
        properties["from"] = _from(cls)
    return {
        "type": "object",
        "description": _said(cls),
        "properties": properties,
        "required": ["type", *(key for key in schema.get("required", []) if key != "type")],
        "additionalProperties": False,
    }


def _from(cls: type[Node]) -> dict[str, Any]:
    source = {"$ref": "#/definitions/source"}
    forms: list[dict[str, Any]] = [source]
    if cls.gathers:
        forms.append({"type": "array", "items": source, "minItems": 1, "uniqueItems": True})
    ports = dict.fromkeys(cls.inputs, source)
    forms.append({"type": "object", "properties": ports, "additionalProperties": False, "minProperties": 1})
    return {"description": "Where it takes its input from; left out, the node above.", "anyOf": forms}


def _or_placeholder(value: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value[key] for key in ("title", "description", "default", "examples") if key in value}
    inner = {key: part for key, part in value.items() if key not in kept}
    forms = inner["anyOf"] if set(inner) == {"anyOf"} else [inner]
    if any(not form or (form.get("type") == "string" and not {"pattern", "enum"} & set(form)) for form in forms):
        return value
    return kept | {"anyOf": [*forms, {"$ref": "#/definitions/placeholder"}]}


def _said(cls: type[Node]) -> str:
    return inspect.getdoc(cls) or ""


def _hoisted(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    definitions |= schema.pop("$defs", {})
    return schema


def _tidy(schema: Any) -> Any:
    """The schema in draft-07's spelling, without what an editor shows anyway or cannot use."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {}
    for key, part in schema.items():
        if key in ("properties", "definitions"):
            made[key] = {name: _tidy(inner) for name, inner in part.items()}
        elif key == "prefixItems":
            made["items"] = _tidy(part)
        elif key == "gt":
            made["exclusiveMinimum"] = part
        elif key != "title" and not (key == "default" and part is None):
            made.setdefault(key, _tidy(part))
    return made
