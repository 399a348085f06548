"""Conditions that a file is to meet: `{prop, value}`, all of them; asked of a file here, or of what a flow comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from pipeline.api.dialects.ittybit.errors import BadRequest, ConditionsUnmet
from pipeline.model import File
from pipeline.nodes.conditional import Conditional

MOST = 20
OPERATORS: Mapping[str, str] = {
    "eq": "equals", "equals": "equals", "is": "equals", "=": "equals", "==": "equals",
    "ne": "notEquals", "neq": "notEquals", "not_equals": "notEquals", "notEquals": "notEquals", "!=": "notEquals",
    "gt": "greaterThan", "greater_than": "greaterThan", "greaterThan": "greaterThan", ">": "greaterThan",
    "gte": "greaterOrEqual", "greaterOrEqual": "greaterOrEqual", ">=": "greaterOrEqual", "min": "greaterOrEqual",
    "lt": "lessThan", "less_than": "lessThan", "lessThan": "lessThan", "<": "lessThan",
    "lte": "lessOrEqual", "lessOrEqual": "lessOrEqual", "<=": "lessOrEqual", "max": "lessOrEqual",
    "contains": "contains", "starts_with": "startsWith", "startsWith": "startsWith", "ends_with": "endsWith",
    "endsWith": "endsWith", "in": "in",
}  # fmt: skip
"""How comparisons are spelled, and which one each is here."""
SIGNS = (">=", "<=", "!=", "==", ">", "<")
"""What a value may begin with instead."""
FIELDS: Mapping[str, str] = {
    "type": "mime", "mime": "mime", "mime_type": "mime", "filesize": "size", "file_size": "size", "size": "size",
    "width": "width", "height": "height", "frames": "frames", "extension": "extension", "format": "format",
    "transparency": "alpha", "ratio": "ratio", "aspect_ratio": "ratio",
}  # fmt: skip
KINDS = ("image", "video", "audio")
ORIENTATIONS: Mapping[str, str] = {"landscape": "greaterThan", "portrait": "lessThan", "square": "equals"}


@dataclass(frozen=True)
class Test:
    """One comparison as a node makes it; `holds` says which of its ways out is the right one."""

    node: Mapping[str, Any]
    holds: bool
    told: Mapping[str, Any]
    """As it was asked for."""

    def passes(self, file: File) -> bool:
        """Whether a file meets it."""
        _, port = Conditional.model_validate(self.node).choose([_facts(file)])
        return (port == "then") is self.holds


def tests_of(given: Any) -> Sequence[Test]:
    """The comparisons of a list of `{prop, value}` or of an object `{prop: value}`; raises `BadRequest`."""
    if given is None:
        return ()
    if isinstance(given, dict) and "prop" not in given:
        given = [row for prop, value in given.items() for row in _rows(prop, value)]
    rows = given if isinstance(given, list) else [given]
    if len(rows) > MOST or not all(isinstance(row, dict) for row in rows):
        raise BadRequest(reason=f"`conditions` must be a list of at most {MOST} objects with `prop` and `value`.")
    return [_test(row) for row in rows]


def look_of(tests: Sequence[Test]) -> Any:
    """What looks at a file and raises `ConditionsUnmet` unless it meets all of them."""

    def look(file: File) -> None:
        if failed := next((test for test in tests if not test.passes(file)), None):
            raise ConditionsUnmet(reason=f"`{failed.told.get('prop')}` is not {failed.told.get('value')!r}"[:200])

    return look if tests else None


def _rows(prop: str, value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [{"prop": prop, "operator": operator, "value": one} for operator, one in value.items()]
    for start in ("min_", "max_"):
        if prop.startswith(start):
            return [{"prop": prop.removeprefix(start), "operator": start.strip("_"), "value": value}]
    return [{"prop": prop, "value": value}]


def _test(row: Mapping[str, Any]) -> Test:
    prop, value = row.get("prop"), row.get("value")
    operator = row.get("operator") or row.get("op") or row.get("comparison")
    if not isinstance(prop, str) or value is None:
        raise BadRequest(reason="Each condition must have a `prop` and a `value`.")
    if operator is None and isinstance(value, str):
        operator = next((sign for sign in SIGNS if value.startswith(sign)), None)
        value = value.removeprefix(operator or "").strip()
    spelt = OPERATORS.get(str(operator)) if operator else "in" if isinstance(value, list) else "equals"
    if spelt is None:
        raise BadRequest(reason=f"Unknown operator `{str(operator)[:40]}` in a condition.")
    return _made(prop.removeprefix("media.").removeprefix("file."), spelt, value, row)


def _made(prop: str, operator: str, value: Any, row: Mapping[str, Any]) -> Test:
    node, holds = _node(prop, operator, value)
    node = {"type": "conditional", **node}
    try:
        Conditional.model_validate(node)
    except ValidationError as cause:
        reason = str(cause.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
        raise BadRequest(reason=f"The condition on `{prop[:80]}` cannot be checked: {reason}.") from cause
    return Test(node, holds, dict(row))


def _node(prop: str, operator: str, value: Any) -> tuple[dict[str, Any], bool]:
    """The comparison, and whether it has to hold."""
    holds = operator != "notEquals"
    if prop == "kind":
        if value not in KINDS or operator not in ("equals", "notEquals"):
            raise BadRequest(reason=f"`kind` is one of {', '.join(KINDS)}.")
        return {"field": "mime", "operator": "startsWith", "value": f"{value}/"}, holds
    if prop == "orientation":
        if value not in ORIENTATIONS or operator not in ("equals", "notEquals"):
            raise BadRequest(reason=f"`orientation` is one of {', '.join(ORIENTATIONS)}.")
        return {"field": "ratio", "operator": ORIENTATIONS[value], "value": 1}, holds
    if prop == "animated":
        return {"field": "frames", "operator": "greaterThan", "value": 1}, (value in (True, "true")) is holds
    field = prop if prop.startswith("metadata.") else FIELDS.get(prop)
    if field is None:
        raise BadRequest(reason=f"Unknown condition `{prop[:80]}`.")
    return {"field": field, "operator": operator, "value": value}, True


def _facts(file: File) -> Mapping[str, Any]:
    """What can be asked of a file, as flows have it."""
    told: dict[str, Any] = {f"metadata.{key}": value for key, value in file.metadata.items()}
    told |= {"mime": file.mime, "size": file.size, "extension": file.name.rpartition(".")[2].lower()}
    told["format"] = file.mime.rpartition("/")[2]
    if image := file.image:
        told |= {"width": image.width, "height": image.height, "ratio": image.width / image.height}
        told |= {"frames": image.frames, "alpha": image.alpha, "format": image.format}
    return told
