"""What the house offers, described: HTTP operations, also as a page, and node types as JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

from pydantic import BaseModel

from pipeline.errors import SafelightError
from pipeline.nodes import INDEX
from pipeline.nodes.base import Node

PLACE = re.compile(r"{(\w+)(?::[^{}]*)?}")


@dataclass(frozen=True)
class Raw:
    """A body that is not JSON: its media type and, for forms, the schema of its fields."""

    media_type: str
    schema: Mapping[str, Any]


BINARY: Mapping[str, Any] = {"type": "string", "format": "binary"}
Content = type[BaseModel] | Raw
Contents = Content | Sequence[Content] | None


ByPublicKey = Literal["no", "signed", "known"]


@dataclass(frozen=True)
class Operation:
    """One method on one path, with everything a caller must know to use it."""

    method: str
    path: str
    summary: str
    tag: str = "safelight"
    query: type[BaseModel] | None = None
    headers: Mapping[str, str] | None = None
    body: Contents = None
    answers: Mapping[int, Contents] | None = None
    errors: tuple[type[SafelightError], ...] = ()
    public: bool = False
    by_public_key: ByPublicKey = "no"
    """Whether a page may call it with the project's public key: signed where the project asks for it, or as it is."""

    api: str = ""
    """Whose API it is part of, where another one has the same paths."""

    @property
    def plain_path(self) -> str:
        """The path with its places as `{name}` only."""
        return PLACE.sub(r"{\1}", self.path)


# Node types


def node_types() -> Sequence[dict[str, Any]]:
    """Every node type: what it does, its ports, and the JSON Schema of its parameters."""
    return [_node_type(name, node) for name, node in INDEX.items()]


def _node_type(name: str, node: type[Node]) -> dict[str, Any]:
    return {
        "type": name,
        "summary": (node.__doc__ or "").strip().partition("\n")[0],
        "inputs": node.inputs,
        "optional_inputs": node.optional_inputs,
        "gathers": node.gathers,
        "outputs": node.outputs,
        "takes": node.takes,
        "gives": node.gives,
        "parameters": node.model_json_schema(by_alias=True),
    }


# The page

STYLE = """
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:2rem auto;padding:0 1rem}
h2{margin-top:2.5rem;border-bottom:1px solid #8886}
details{border:1px solid #8884;border-radius:6px;margin:.5rem 0;padding:.4rem .8rem}
summary{cursor:pointer}
code,b.method{font-family:ui-monospace,monospace;font-size:.92em}
b.method{display:inline-block;min-width:4.5em}
table{border-collapse:collapse;margin:.5rem 0}
td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}
"""


def page(document: Mapping[str, Any], errors: Iterable[type[SafelightError]]) -> str:
    """The OpenAPI document and the table of error codes as one HTML page that loads nothing."""
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            sections.setdefault(operation["tags"][0], []).append(_entry(method, path, operation))
    described = "".join(f"<h2>{escape(tag)}</h2>{''.join(entries)}" for tag, entries in sections.items())
    title = escape(document["info"]["title"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title} API</title>"
        f"<meta name=viewport content='width=device-width'><style>{STYLE}</style>"
        f"<h1>{title} API</h1><p>{escape(document['info']['summary'])} "
        f"The machine-readable form is <a href=/openapi.json>/openapi.json</a>.</p>"
        f"{described}<h2>Errors</h2>{_error_table(errors)}</html>\n"
    )


def _entry(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parameters = [(p["name"], p["in"], p.get("description", "")) for p in operation.get("parameters", [])]
    body = operation.get("requestBody", {}).get("content", {})
    answers = [
        (status, answer["description"], ", ".join(_shapes(answer))) for status, answer in operation["responses"].items()
    ]
    key = "" if {} in operation["security"] else "<p>Needs an API key.</p>"
    return (
        f"<details><summary><b class=method>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation['summary'])}</summary>{key}{_table(('parameter', 'in', ''), parameters)}"
        f"{_table(('body',), [(media_type,) for media_type in body])}{_table(('answer', '', ''), answers)}</details>"
    )


def _shapes(answer: Mapping[str, Any]) -> list[str]:
    return [
        str(media.get("schema", {}).get("$ref", media_type)).rpartition("/schemas/")[2]
        for media_type, media in answer.get("content", {}).items()
    ]


def _error_table(errors: Iterable[type[SafelightError]]) -> str:
    rows = sorted({(error.code, str(error.status), error.sentence) for error in errors})
    cells = "".join(
        f"<tr id={code}><td><code>{code}</code><td>{status}<td>{escape(sentence)}" for code, status, sentence in rows
    )
    return f"<table><tr><th>code<th>status<th>sentence{cells}</table>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(text)}" for text in heads)
    lines = "".join("<tr>" + "".join(f"<td>{escape(text)}" for text in row) for row in rows)
    return f"<table><tr>{head}{lines}</table>"
