"""What requests say, as models; what is wrong with them is told by field, as the vendor does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self, TypeVar

import orjson
from pydantic import AnyHttpUrl, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipeline.api.bodies import JSON_LIMIT
from pipeline.api.dialects.uploadkit.errors import invalid
from pipeline.api.endpoint import Call

PAGE, LONGEST = 50, 100
MOST_KEYS = 100
LARGEST_SIDE = 4096

M = TypeVar("M", bound=BaseModel)


def _number(value: Any) -> Any:
    """A number of JSON; a text, which pydantic would read as one, is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a number")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Text = Annotated[str, Field(min_length=1)]
Metadata = Mapping[str, Any]


class Said(BaseModel):
    """What a body says; what it says beyond is passed over."""

    model_config = ConfigDict(frozen=True)


class RequestAsk(Said):
    """A file that is to be uploaded."""

    fileName: Annotated[Text, Field(max_length=255)]  # noqa: N815
    fileSize: Annotated[Whole, Field(gt=0)]  # noqa: N815
    contentType: Annotated[Text, Field(max_length=100)]  # noqa: N815
    routeSlug: Annotated[Text, Field(max_length=100)]  # noqa: N815
    metadata: Metadata | None = None


class CompleteAsk(Said):
    """Bytes that are there, of the file `fileId`."""

    fileId: Text  # noqa: N815
    metadata: Metadata | None = None


class PairAsk(Said):
    """An upload in parts."""

    fileId: Text  # noqa: N815
    uploadId: Text  # noqa: N815


class PartAsk(Said):
    """A part, and the entity tag it was answered with."""

    partNumber: Annotated[Whole, Field(gt=0)]  # noqa: N815
    etag: Text


class PartsAsk(PairAsk):
    """The parts that are to be the file."""

    parts: Annotated[tuple[PartAsk, ...], Field(min_length=1)]
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _told_once(self) -> Self:
        if len({part.partNumber for part in self.parts}) < len(self.parts):
            raise ValueError("a part is told once")
        return self


class MetadataAsk(Said):
    """What a file is to have in place of its metadata."""

    metadata: Metadata


class KeysAsk(Said):
    """Files that are to be deleted."""

    keys: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MOST_KEYS)]


class RouterChange(Said):
    """What is said of a route."""

    maxFileSize: Annotated[Whole, Field(gt=0)] | None = None  # noqa: N815
    maxFileCount: Annotated[Whole, Field(gt=0)] | None = None  # noqa: N815
    allowedTypes: tuple[Text, ...] | None = None  # noqa: N815
    webhookUrl: AnyHttpUrl | None = None  # noqa: N815

    def body(self) -> dict[str, Any]:
        """What is said of a route, as it is kept."""
        return self.model_dump(mode="json", exclude_unset=True, exclude={"slug"})


class RouterAsk(RouterChange):
    """A route that is to be made."""

    slug: Annotated[Text, Field(max_length=100, pattern=r"^[a-zA-Z][a-zA-Z0-9]*$")]


class TransformAsk(Said):
    """A picture that is to be made of a file."""

    key: Annotated[Text, Field(max_length=1024)]
    width: Annotated[Whole, Field(ge=1, le=LARGEST_SIDE)] | None = None
    height: Annotated[Whole, Field(ge=1, le=LARGEST_SIDE)] | None = None
    fit: Literal["scale-down", "contain", "cover", "crop", "pad"] = "scale-down"
    quality: Annotated[Whole, Field(ge=1, le=100)] = 85
    format: Literal["auto", "avif", "webp", "jpeg", "png"] = "auto"
    delivery: Literal["signed", "public"] = "signed"

    @model_validator(mode="after")
    def _has_a_side(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("At least one of width or height is required")
        return self


class HandlerAsk(Said):
    """What a page asks the handler to do."""

    action: str | None = None


class HandlerRequest(Said):
    """A file that a page wants to upload."""

    fileName: Annotated[str, Field(max_length=255)] = ""  # noqa: N815
    contentType: Annotated[str, Field(max_length=100)] = ""  # noqa: N815
    contentLength: Annotated[Whole, Field(gt=0)]  # noqa: N815
    metadata: Metadata | None = None


class HandlerComplete(Said):
    """The end of an upload by a page."""

    fileId: Text  # noqa: N815
    key: str | None = None


class ListQuery(Said):
    """A page of files."""

    limit: Annotated[int, Field(ge=1, le=LONGEST)] = PAGE
    cursor: str | None = None


class LogQuery(Said):
    """What came since a time."""

    since: datetime
    limit: Annotated[int, Field(ge=1, le=LONGEST)] = PAGE


async def read(call: Call) -> Any:
    """The body as JSON; refused when it is none."""
    try:
        return orjson.loads(await call.body.whole(JSON_LIMIT))
    except orjson.JSONDecodeError as cause:
        raise invalid({"body": [f"This is not JSON: {cause}."]}) from cause


async def body(call: Call, model: type[M]) -> M:
    """The body as `model`; refused with what is wrong by field."""
    return said(model, await read(call))


def query(call: Call, model: type[M]) -> M:
    """The query as `model`; refused with what is wrong by field."""
    return said(model, {name: call.request.query[name] for name in call.request.query})


def said(model: type[M], told: Any) -> M:
    """What was told as `model`; refused with what is wrong by field."""
    try:
        return model.model_validate(told)
    except ValidationError as cause:
        raise invalid(faults_of(cause)) from cause


def faults_of(error: ValidationError) -> dict[str, list[str]]:
    """What is wrong, by the field it is wrong with."""
    faults: dict[str, list[str]] = {}
    for fault in error.errors():
        field = str(fault["loc"][0]) if fault["loc"] else "body"
        faults.setdefault(field, []).append(fault["msg"].removeprefix("Value error, "))
    return faults
