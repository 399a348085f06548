"""What the values of conditions mean beside what is found: texts, numbers, sizes, times and flags.

Sizes may be written `1mb` (of 1024 x 1024 bytes), times as ISO 8601 or as an age such as `7d` (h, d, w, m, y).
"""

from __future__ import annotations

import operator as by
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pipeline.api.dialects.imagekit.query import NUMBER, Comparison, Operator, QueryInvalid, Value
from pipeline.model import now

Kind = Literal["text", "number", "size", "time", "flag", "list"]
"""What a field holds: `list` is one of several texts, such as tags."""

UNITS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}
AGES = {"h": 1 / 24, "d": 1.0, "w": 7.0, "m": 30.0, "y": 365.0}
"""Days."""
ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {"<": by.lt, "<=": by.le, ">": by.gt, ">=": by.ge}

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?b)?", re.IGNORECASE)
_AGE = re.compile(r"(\d{1,5})([hdwmy])")


def matches(comparison: Comparison, found: Any, kind: Kind) -> bool:
    """Whether a value found in a field of this kind is as the comparison wants it; one that is not there is not.

    Raises `QueryInvalid` for a value that means nothing in such a field.
    """
    wanted = [meant(value, kind) for value in comparison.values]
    if found is None:
        return comparison.negated
    return _fits(comparison.operator, found, wanted) is not comparison.negated


def meant(value: Value, kind: Kind) -> Any:
    """A value as a field of this kind has it; raises `QueryInvalid`."""
    if kind == "size":
        return size_of(value)
    if kind == "time":
        return time_of(value)
    if kind == "number":
        return _number(value)
    if kind == "flag":
        if isinstance(value, bool):
            return value
        raise QueryInvalid(f"`{value}` is neither true nor false.")
    return _text(value)


def size_of(value: Value) -> float:
    """Bytes; raises `QueryInvalid`."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        raise QueryInvalid(f"`{str(value)[:40]}` is no size, such as 1024 or 1mb.")
    return float(match.group(1)) * UNITS[(match.group(2) or "b").lower()]


def time_of(value: Value) -> datetime:
    """A point in time, given as such or as an age; raises `QueryInvalid`."""
    text = str(value).strip()
    try:
        if match := _AGE.fullmatch(text):
            return now() - timedelta(days=int(match.group(1)) * AGES[match.group(2)])
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as cause:
        raise QueryInvalid(f"`{text[:40]}` is no time, such as 2024-01-31 or 7d.") from cause
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _number(value: Value) -> float:
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, str | bool):
        raise QueryInvalid(f"`{value[:40] if isinstance(value, str) else value}` is no number.")
    return float(value)


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fits(operator: Operator, found: Any, wanted: Sequence[Any]) -> bool:
    if isinstance(found, list | tuple):  # one of several is enough
        return any(_fits(operator, one, wanted) for one in found)
    if operator == "exists":
        return True
    first = wanted[0]
    if operator == "has":
        return _has(words_of(str(found)), words_of(str(first)))
    if operator in ("=", "in"):
        return any(found == one for one in wanted)
    if operator == ":":
        return str(found).startswith(str(first))
    return bool(ORDERS[operator](found, first))


def words_of(text: str) -> Sequence[str]:
    """The words of a text as they are compared."""
    return re.findall(r"[^\W_]+", text.casefold())


def _has(found: Sequence[str], wanted: Sequence[str]) -> bool:
    *whole, last = wanted or [""]
    return all(word in found for word in whole) and any(word.startswith(last) for word in found)
