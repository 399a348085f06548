"""`safelight nodes`: the node types a flow can be made of, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pipeline.cli.console import Json, Refusal, say, say_json, say_table

commands = typer.Typer()


@commands.command()
def nodes(
    kind: Annotated[str | None, typer.Argument(help="One type, with its parameters.", metavar="[TYPE]")] = None,
    as_json: Json = False,
) -> None:
    """List the node types, or show one with its parameters."""
    from pipeline.describe import node_types

    known = {described["type"]: described for described in node_types()}
    if kind is None:
        _list(known, as_json)
    else:
        _show(known, kind, as_json)


def _list(known: Mapping[str, Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        say_json({"items": list(known.values()), "next": None})
        return
    say_table(("type", "what it does"), [(kind, each["summary"]) for kind, each in known.items()], "There are none.")


def _show(known: Mapping[str, Mapping[str, Any]], kind: str, as_json: bool) -> None:
    from pipeline.documents import hint_for

    if kind not in known:
        raise Refusal(f"There is no node type `{kind}`.", hint_for(kind, list(known)))
    if as_json:
        say_json(known[kind])
        return
    described = known[kind]
    say(f"{kind}: {described['summary']}")
    schema = described["parameters"]
    rows = [
        (name, _shape(field), _default(name, field, schema), field.get("description", ""))
        for name, field in schema["properties"].items()
        if name != "type"
    ]
    say_table(("parameter", "value", "default", "meaning"), rows, "It takes no parameters.")


def _shape(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "anyOf" in field:
        return " | ".join(dict.fromkeys(_shape(each) for each in field["anyOf"]))
    return str(field.get("const") or field.get("type") or field.get("$ref", "any").rpartition("/")[2])


def _default(name: str, field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if name in schema.get("required", ()):
        return "required"
    default = field.get("default")
    return "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
