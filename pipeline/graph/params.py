"""What a flow lets its caller choose: typed params with defaults and bounds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from pipeline.documents import hint_for, shown
from pipeline.errors import ParamsInvalid
from pipeline.model import Noun

MAX_TEXT = 10_000
_BOUNDS = dict.fromkeys(("minimum", "maximum"), ("integer", "number")) | dict.fromkeys(
    ("min_length", "max_length", "pattern"), ("string",)
)


class ParamSpec(Noun):
    """One param of a flow; required when it has no `default`."""

    type: Literal["string", "integer", "number", "boolean"] = Field(
        default="string", description="Numbers and booleans may also be given as strings, as forms send them."
    )
    default: Any = Field(default=None, description="Used when the caller gives none; without it the param is required.")
    enum: tuple[Any, ...] | None = Field(default=None, min_length=1, description="The only values allowed.")
    minimum: float | None = Field(default=None, description="Smallest number allowed.")
    maximum: float | None = Field(default=None, description="Largest number allowed.")
    min_length: int | None = Field(default=None, ge=0, le=MAX_TEXT, description="Fewest characters of a string.")
    max_length: int | None = Field(default=None, ge=0, le=MAX_TEXT, description="Most characters of a string.")
    pattern: str | None = Field(default=None, max_length=500, description="Regular expression a string must contain.")
    description: str = Field(default="", description="What it does, for forms.")

    @property
    def required(self) -> bool:
        return "default" not in self.model_fields_set

    def checked(self, value: Any) -> Any:
        """The value in its type; raises ValueError with what it should be, as the end of a sentence about it."""
        try:
            made = self._adapter.validate_python(value)
        except ValidationError as error:
            raise ValueError(_said(error)) from error
        if self.enum is not None and made not in self.enum:
            raise ValueError(f"should be one of {', '.join(str(one) for one in self.enum)}")
        return made

    def faults(self) -> Iterator[tuple[str, str]]:
        """What contradicts itself: the key at fault and a sentence."""
        for key, kinds in _BOUNDS.items():
            if getattr(self, key) is not None and self.type not in kinds:
                yield key, f"`{key}` does not go with a param of type {self.type}."
                return
        try:
            _ = self._adapter
        except (SchemaError, ValueError):
            yield "pattern", "`pattern` is not a regular expression (look-around and back references are not allowed)."
            return
        yield from self._wrong_values()

    def _wrong_values(self) -> Iterator[tuple[str, str]]:
        for value in self.enum or ():
            try:
                self._adapter.validate_python(value, strict=True)
            except ValidationError as error:
                yield "enum", f"`{shown(value)}` {_said(error)}."
                return
        if self.default is not None:
            try:
                self._adapter.validate_python(self.default, strict=self.type != "number")
                self.checked(self.default)
            except ValidationError as error:
                yield "default", f"`default` {_said(error)}."
            except ValueError as error:
                yield "default", f"`default` {error}."

    def samples(self) -> list[Any]:
        """Legal values to try a flow with: the default, or else a few that are likely to be accepted."""
        if not self.required:
            return [self.default]
        if self.enum:
            return list(self.enum[:20])
        tries = [self.minimum, self.maximum, 1, 0, 50, 500, 0.5, "1", "a", "sample", "#ffffff", "true"]
        legal = []
        for value in tries:
            try:
                legal.append(self.checked(value))
            except ValueError:
                continue
        return legal or [None]

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        bounds = Field(ge=self.minimum, le=self.maximum)
        length = Field(min_length=self.min_length, max_length=self.max_length or MAX_TEXT, pattern=self.pattern)
        shapes: dict[str, Any] = {
            "string": Annotated[str, length],
            "integer": Annotated[int, bounds, BeforeValidator(_no_boolean)],
            "number": Annotated[float, Field(allow_inf_nan=False), bounds, BeforeValidator(_no_boolean)],
            "boolean": bool,
        }
        return TypeAdapter(shapes[self.type])


def _said(error: ValidationError) -> str:
    return re.sub(r"^(Value error, |[A-Z][a-z]+ (?=should ))", "", error.errors()[0]["msg"])


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


def check_params(specs: Mapping[str, ParamSpec], given: Mapping[str, Any]) -> dict[str, Any]:
    """The params of a run: those given, in their types, and the defaults; raises `ParamsInvalid` with every fault."""
    faults = [
        f"There is no param `{shown(name)}`. {hint_for(name, list(specs))}".strip()
        for name in given
        if name not in specs
    ][:20]
    checked: dict[str, Any] = {}
    for name, spec in specs.items():
        if name not in given:
            if spec.required:
                faults.append(f"The param `{name}` is required.")
            checked[name] = spec.default
            continue
        try:
            checked[name] = spec.checked(given[name])
        except ValueError as error:
            faults.append(f"The param `{name}` {error}.")
    if faults:
        raise ParamsInvalid(reason=" ".join(faults))
    return checked
