"""Sizes and times as people write them: `25MB`, `1.5GiB`, `100MP`, `30s`, `24h`; plain numbers stay what they are.

Decimal prefixes are powers of 1000, binary ones (`KiB`) powers of 1024. Annotated types make pydantic fields accept
both forms: `Bytes` (int, bytes), `Pixels` (int, pixels), `Seconds` (float, seconds).
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

BYTE_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
BYTE_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
PIXEL_UNITS = {"PX": 1, "KP": 10**3, "MP": 10**6, "GP": 10**9}
SECOND_UNITS = {"MS": 0.001, "S": 1, "M": 60, "MIN": 60, "H": 3600, "D": 86400}

_QUANTITY = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*$")


def quantity(text: Any, units: dict[str, Any], example: str) -> Any:
    """A word such as `25MB` as a number of its base unit; anything but a string passes through.

    Raises ValueError when the string is not a number followed by one of `units`.
    """
    if not isinstance(text, str):
        return text
    match = _QUANTITY.match(text)
    unit = match and units.get(match.group(2).upper())
    if not match or not unit:
        raise ValueError(f"write a quantity such as {example}")
    value = float(match.group(1)) * unit
    return int(value) if value == int(value) else value


def _schema(example: str, units: dict[str, Any]) -> WithJsonSchema:
    spellings = sorted({s for unit in units for s in (unit, unit.lower(), unit.replace("IB", "iB"))})
    pattern = rf"^\s*\d+(\.\d+)?\s*({'|'.join(spellings)})\s*$"
    return WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": pattern}], "examples": [example]}
    )


def _bytes(text: Any) -> Any:
    return quantity(text, BYTE_UNITS, "25MB")


def _pixels(text: Any) -> Any:
    return quantity(text, PIXEL_UNITS, "100MP")


def _seconds(text: Any) -> Any:
    return quantity(text, SECOND_UNITS, "30s")


Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=0), _schema("25MB", BYTE_UNITS)]
Pixels = Annotated[int, BeforeValidator(_pixels), Field(ge=0), _schema("100MP", PIXEL_UNITS)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0), _schema("30s", SECOND_UNITS)]
