"""Conditional and first: which way an artifact goes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.nodes.conditional import Conditional
from pipeline.nodes.first import First

FACTS: dict[str, Any] = {
    "mime": "image/jpeg", "extension": "jpg", "size": 6_000_000, "width": 4000, "height": 3000, "ratio": 4 / 3,
    "frames": 1, "alpha": False, "format": "jpeg", "metadata.kind": "scan", "params.max": 10,
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "operator", "value", "holds"),
    [
        ("width", "greaterThan", 2000, True),
        ("width", "greaterThan", 4000, False),
        ("width", "greaterOrEqual", 4000, True),
        ("width", "lessThan", "4001", True),
        ("height", "lessOrEqual", 2999, False),
        ("size", "greaterThan", "5MB", True),
        ("size", "lessThan", "5MiB", False),
        ("ratio", "greaterThan", 1, True),
        ("mime", "equals", "image/jpeg", True),
        ("mime", "notEquals", "image/png", True),
        ("mime", "startsWith", "image/", True),
        ("mime", "endsWith", "/png", False),
        ("mime", "contains", "jp", True),
        ("format", "in", ["png", "jpeg"], True),
        ("format", "in", "jpeg", True),
        ("width", "in", [1, 4000], True),
        ("alpha", "equals", False, True),
        ("alpha", "equals", "true", False),
        ("frames", "equals", 1, True),
        ("metadata.kind", "equals", "scan", True),
        ("metadata.absent", "equals", "scan", False),
        ("metadata.absent", "notEquals", "scan", False),
        ("params.max", "equals", "10", True),
        ("metadata.kind", "greaterThan", 5, False),
    ],
)
def test_a_comparison_picks_the_port(field: str, operator: str, value: Any, holds: bool) -> None:
    step = Conditional.model_validate({"type": "conditional", "field": field, "operator": operator, "value": value})
    assert step.choose([FACTS]) == (0, "then" if holds else "else")


@pytest.mark.parametrize(
    ("field", "operator", "value"),
    [
        ("mime", "greaterThan", 5),
        ("format", "lessOrEqual", "jpeg"),
        ("width", "greaterThan", "wide"),
        ("ratio", "lessThan", "16:9"),
        ("metadata.kind", "greaterOrEqual", [1, 2]),
        ("params.max", "lessThan", None),
    ],
)
def test_what_cannot_be_put_in_order_is_refused(field: str, operator: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=f"{operator} compares numbers"):
        Conditional.model_validate({"type": "conditional", "field": field, "operator": operator, "value": value})


@pytest.mark.parametrize("field", ["weight", "metadata.", "params."])
def test_an_unknown_field_is_refused(field: str) -> None:
    with pytest.raises(ValidationError, match="unknown field"):
        Conditional.model_validate({"type": "conditional", "field": field, "operator": "equals", "value": 1})


def test_first_takes_the_first_that_was_not_skipped() -> None:
    assert First.model_validate({"type": "first"}).choose([None, FACTS, FACTS]) == (1, None)
