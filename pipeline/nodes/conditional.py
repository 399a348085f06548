"""Send an artifact one of two ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.nodes.base import ChoiceNode, Facts
from pipeline.units import BYTE_UNITS, quantity

if TYPE_CHECKING:
    from typing import Self

TEXTS = frozenset({"mime", "extension", "format"})
ORDERS = frozenset({"greaterThan", "greaterOrEqual", "lessThan", "lessOrEqual"})
FIELDS = ("mime", "extension", "size", "width", "height", "ratio", "frames", "alpha", "format")
OPEN_FIELDS = ("metadata.", "params.", "facts.")

Operator = Literal[
    "equals", "notEquals", "greaterThan", "greaterOrEqual", "lessThan", "lessOrEqual", "contains", "startsWith",
    "endsWith", "in",
]  # fmt: skip

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "equals": lambda found, value: bool(_alike(found, value)),
    "notEquals": lambda found, value: not _alike(found, value),
    "greaterThan": lambda found, value: _number(found) > _number(value),
    "greaterOrEqual": lambda found, value: _number(found) >= _number(value),
    "lessThan": lambda found, value: _number(found) < _number(value),
    "lessOrEqual": lambda found, value: _number(found) <= _number(value),
    "contains": lambda found, value: _text(value) in _text(found),
    "startsWith": lambda found, value: _text(found).startswith(_text(value)),
    "endsWith": lambda found, value: _text(found).endswith(_text(value)),
    "in": lambda found, value: any(_alike(found, one) for one in value),
}


class Conditional(ChoiceNode):
    """Sends what comes in out of port `then` when the comparison holds, else out of `else`."""

    type: Literal["conditional"]
    field: str = Field(
        description="mime, extension, size (bytes), width, height, ratio, frames, alpha, format, metadata.<key>, "
        "params.<key> or facts.<node>.<key>. A field the artifact does not have never holds."
    )
    operator: Operator
    value: Any = Field(description="What it is compared with; a list for `in`. Sizes may be words such as 5MB.")

    outputs: ClassVar[tuple[str, ...]] = ("then", "else")

    @field_validator("field")
    @classmethod
    def _known(cls, field: str) -> str:
        if field not in FIELDS and not any(field.startswith(start) and field != start for start in OPEN_FIELDS):
            known = ", ".join((*FIELDS, "metadata.<key>", "params.<key>", "facts.<node>.<key>"))
            raise ValueError(f"unknown field `{field}`; known: {known}")
        return field

    @field_validator("value")
    @classmethod
    def _comparable(cls, value: Any) -> Any:
        if isinstance(value, dict):
            raise ValueError("compare with a text, a number, true, false, or a list for `in`")
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        if self.operator not in ORDERS:
            return self
        if self.field in TEXTS:
            raise ValueError(f"{self.operator} compares numbers, and {self.field} is a text")
        try:
            _number(self.value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.operator} compares numbers; write one, or a size such as 5MB") from error
        return self

    def choose(self, sources: Sequence[Facts | None]) -> tuple[int, str | None]:
        facts = sources[0] or {}
        found = facts.get(self.field)
        return 0, "then" if found is not None and self._holds(found) else "else"

    def _holds(self, found: Any) -> bool:
        value = (self.value,) if self.operator == "in" and not isinstance(self.value, tuple) else self.value
        try:
            return OPERATORS[self.operator](found, value)
        except ValueError:
            return False


def _alike(found: Any, value: Any) -> bool:
    if isinstance(found, bool) or isinstance(value, bool):
        return _text(found) == _text(value)
    if isinstance(found, int | float):
        try:
            return _number(found) == _number(value)
        except ValueError:
            return False
    return _text(found) == _text(value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float(quantity(value, BYTE_UNITS, "5MB"))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
