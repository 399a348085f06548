"""When a flow runs by itself, on what, and for whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema

from pipeline.documents import Fault, hint_for, nearest, shown
from pipeline.errors import ParamsInvalid
from pipeline.graph.params import ParamSpec, check_params
from pipeline.model import File, Noun
from pipeline.nodes.input import Input
from pipeline.sniff import allowed
from pipeline.units import Seconds

FIELDS = 5
SPANS = (timedelta(hours=1), timedelta(days=1), timedelta(days=31), timedelta(days=366))
"""How far back the last tick is looked for, one after the other, so that a line of every minute is not counted out."""

MediaRange = Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9.+-]+)/(\*|[A-Za-z0-9.+-]+)$")]


def _cron(line: str) -> str:
    if len(line.split()) != FIELDS:
        raise ValueError("a cron line has five fields: minute, hour, day of the month, month, day of the week")
    try:
        next(CronSim(line, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"this is no cron line ({str(error)[:1].lower()}{str(error)[1:]})") from error
    except StopIteration as error:
        raise ValueError("this day never comes") from error
    return " ".join(line.split())


def _timezone(name: str) -> str:
    if name not in _timezones():
        near = nearest(name, sorted(_timezones()))
        raise ValueError(f"there is no such time zone; {f'`{near}` is one' if near else 'Europe/Berlin is one'}")
    return name


@cache
def _timezones() -> set[str]:
    return available_timezones()


def _written(value: Any) -> Any:
    return {"cron": value} if isinstance(value, str) else value


def _ids(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class _OrLine:
    """Says in a schema that the cron line alone will do."""

    def __get_pydantic_json_schema__(self, shape: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "examples": ["0 3 * * *"]}, handler(shape)]}


TEXT = {"type": "string"}
Ids = Annotated[
    tuple[str, ...], BeforeValidator(_ids), WithJsonSchema({"anyOf": [TEXT, {"type": "array", "items": TEXT}]})
]


class StoredFiles(Noun):
    """Which stored files a scheduled run is given."""

    into: str | None = Field(
        default=None, description="The input that takes them; left out, the one with `many: true`."
    )
    newer_than: Seconds | None = Field(
        default=None, gt=0, description="Only files stored so long before, such as 1d; left out, each file once."
    )
    types: tuple[MediaRange, ...] = Field(default=("*/*",), min_length=1, description="Types such as image/*.")
    metadata: Mapping[str, str] = Field(default={}, description="What their metadata has to say.")
    most: int = Field(default=100, ge=1, le=1000, description="Most files of one run.")

    def wants(self, file: File) -> bool:
        """Whether a file is one of them, whenever it was stored."""
        said = all(file.metadata.get(name) == value for name, value in self.metadata.items())
        return said and allowed(file.mime, self.types)


class Schedule(Noun):
    """When a flow runs by itself: a cron line, in a time zone; a plain string is a line in UTC."""

    cron: Annotated[str, AfterValidator(_cron)] = Field(
        max_length=200, description="Minute, hour, day of the month, month, day of the week.", examples=["0 3 * * *"]
    )
    timezone: Annotated[str, AfterValidator(_timezone)] = Field(
        default="UTC", description="The zone whose clock it goes by.", examples=["Europe/Berlin"]
    )
    project: str | None = Field(default=None, description="Whose runs they are; left out, the first of the settings.")
    params: Mapping[str, Any] = Field(default={}, description="Params of its runs.")
    inputs: Mapping[str, Ids] = Field(default={}, description="Ids of stored files that every run is given, by input.")
    files: StoredFiles | None = Field(default=None, description="Stored files that a run is given.")

    @property
    def spec(self) -> str:
        """What decides when its ticks come."""
        return f"{self.cron} {self.timezone}"

    def next_after(self, at: datetime) -> datetime | None:
        """The first tick after `at`, None when there is none for half a century.

        A time that the clock skips in spring comes right after the gap, one that it shows twice in autumn comes once.
        """
        for local in CronSim(self.cron, at.astimezone(ZoneInfo(self.timezone))):
            tick = local.astimezone(UTC)
            if tick > at:  # what the clock shows twice is looked at from its first time on
                return tick
        return None

    def last_between(self, since: datetime, at: datetime) -> datetime | None:
        """The last tick after `since` and not after `at`, None when there is none."""
        for span in SPANS:
            if at - span <= since:
                break
            if found := self._last(at - span, at):
                return found
        return self._last(since, at)

    def _last(self, since: datetime, at: datetime) -> datetime | None:
        last, tick = None, self.next_after(since)
        while tick is not None and tick <= at:
            last, tick = tick, self.next_after(tick)
        return last

    def fed(self, inputs: Mapping[str, Input]) -> str | None:
        """The input that its files go into, None when it has none or cannot tell which."""
        if self.files is None:
            return None
        many = [name for name, node in inputs.items() if node.many]
        return self.files.into or (many[0] if len(many) == 1 else None)

    def faults(self, inputs: Mapping[str, Input], params: Mapping[str, ParamSpec]) -> Iterator[Fault]:
        """What a flow with these inputs and params cannot do by itself; paths are relative to the schedule."""
        yield from self._wrong_params(params)
        yield from self._wrong_inputs(inputs)
        yield from self._wrong_files(inputs)
        given = {*self.inputs, self.fed(inputs)}
        for name, node in inputs.items():
            if node.required and name not in given and (self.files is None or self.fed(inputs)):
                message = f"Nobody sends the input `{name}` a file when the flow runs by itself."
                hint = "Say `required: false` there, or `inputs` or `files` in the schedule."
                yield Fault((), "INPUT_MISSING", message, hint, key=True)

    def _wrong_params(self, params: Mapping[str, ParamSpec]) -> Iterator[Fault]:
        for name, value in self.params.items():
            if name not in params:
                message = f"The flow has no param `{shown(name)}`."
                yield Fault(("params", name), "PARAM_UNKNOWN", message, hint_for(name, list(params)), key=True)
                continue
            try:
                check_params({name: params[name]}, {name: value})
            except ParamsInvalid as error:
                yield Fault(("params", name), "VALUE_INVALID", error.message)
        for name, spec in params.items():
            if spec.required and name not in self.params:
                message = f"The param `{name}` is required, and nobody gives it when the flow runs by itself."
                yield Fault((), "VALUE_INVALID", message, f"Say `params: {{{name}: ...}}` in the schedule.", key=True)

    def _wrong_inputs(self, inputs: Mapping[str, Input]) -> Iterator[Fault]:
        for name, ids in self.inputs.items():
            if name not in inputs:
                message = f"The flow has no input `{shown(name)}`."
                yield Fault(("inputs", name), "INPUT_UNKNOWN", message, hint_for(name, list(inputs)), key=True)
            elif len(ids) > 1 and not inputs[name].many:
                yield Fault(("inputs", name), "INPUT_NOT_MANY", f"The input `{name}` takes one file only.")

    def _wrong_files(self, inputs: Mapping[str, Input]) -> Iterator[Fault]:
        if self.files is None:
            return
        place = ("files", "into") if self.files.into else ("files",)
        name = self.fed(inputs)
        if name is None:
            message = "Which input takes the files? Exactly one with `many: true` would be taken."
            yield Fault(place, "INPUT_MISSING", message, "Say `into: <input>`.", key=True)
        elif name not in inputs:
            message = f"The flow has no input `{shown(name)}`."
            yield Fault(place, "INPUT_UNKNOWN", message, hint_for(name, list(inputs)))
        elif not inputs[name].many:
            message = f"The input `{name}` takes one file only; a schedule's files are many."
            yield Fault(place, "INPUT_NOT_MANY", message, "Say `many: true` there.")


Scheduled = Annotated[Schedule, BeforeValidator(_written), _OrLine()]
