"""What requests say, as models; what is wrong with them is told in the vendor's words where it has any."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.api.bodies import JSON_LIMIT, is_json
from pipeline.api.dialects.uploadista.errors import refused
from pipeline.api.endpoint import Call
from pipeline.errors import BodyTypeUnsupported

M = TypeVar("M", bound=BaseModel)


class Heard(BaseModel):
    """What a body says; what it says beyond is passed over."""

    model_config = ConfigDict(frozen=True)


class Segment(Heard):
    """What the metadata of a segment says of its place in a parallel upload."""

    parallelUpload: Literal[True, "true"]  # noqa: N815
    segmentIndex: Annotated[int, Field(ge=0, lt=1000)]  # noqa: N815
    totalSegments: Annotated[int, Field(ge=1, le=1000)]  # noqa: N815
    parentFingerprint: Annotated[str, Field(min_length=1, max_length=2000)]  # noqa: N815


class InputFile(Heard):
    """A file that is to be uploaded."""

    storageId: Annotated[str, Field(min_length=1, max_length=200)]  # noqa: N815
    type: Annotated[str, Field(max_length=200)]
    size: Annotated[float, Field(ge=0, lt=2**53)] | None = None
    uploadLengthDeferred: bool = False  # noqa: N815
    fileName: Annotated[str, Field(max_length=1000)] | None = None  # noqa: N815
    lastModified: Annotated[float, Field(ge=0, lt=2**53)] | None = None  # noqa: N815
    metadata: str | None = None
    checksum: Annotated[str, Field(max_length=200)] | None = None
    checksumAlgorithm: str | None = None  # noqa: N815


class InitInput(Heard):
    """An input whose file its client is about to upload."""

    operation: Literal["init"]
    storageId: str | None = None  # noqa: N815
    metadata: dict[str, Any] = {}


class FinalizeInput(Heard):
    """An input whose file has been uploaded."""

    operation: Literal["finalize"]
    uploadId: Annotated[str, Field(min_length=1, max_length=200)]  # noqa: N815


class UrlInput(Heard):
    """An input whose file lies elsewhere."""

    operation: Literal["url"]
    url: Annotated[str, Field(min_length=1, max_length=8000)]
    storageId: str | None = None  # noqa: N815
    metadata: dict[str, Any] = {}


Input = InitInput | FinalizeInput | UrlInput
_inputs: TypeAdapter[Input] = TypeAdapter(Annotated[Input, Field(discriminator="operation")])


class RunAsk(Heard):
    """A flow that is to be run on these inputs, by their nodes."""

    inputs: dict[str, Any]
    params: dict[str, Any] = {}


class ResumeAsk(Heard):
    """What a waiting node is to go on with."""

    newData: Any  # noqa: N815


async def body(call: Call, model: type[M], missing: str) -> M:
    """The JSON body as `model`; refused with what is wrong, or with `missing` where it is no object or lacks a field.

    Raises `BodyTypeUnsupported` for a body that is declared as something else.
    """
    if not is_json(call.request) and call.request.headers.get("Content-Type"):
        raise BodyTypeUnsupported(found=call.request.content_type, expected="application/json")
    return said(model, await read(call), missing)


async def read(call: Call) -> Any:
    """The body as JSON; refused when it is none."""
    text = await call.body.whole(JSON_LIMIT)
    try:
        return orjson.loads(text or b"{}")
    except orjson.JSONDecodeError as cause:
        raise refused("VALIDATION_ERROR", "Bad request: the body is not JSON") from cause


def said(model: type[M], told: Any, missing: str) -> M:
    """What was told as `model`; refused with what is wrong."""
    try:
        return model.model_validate(told)
    except ValidationError as cause:
        lacks = any(fault["type"] in ("missing", "model_type") for fault in cause.errors())
        raise refused("VALIDATION_ERROR", missing if lacks else _faults(cause)) from cause


def input_of(node: str, told: Any) -> Input:
    """What is told of one input; raises `FLOW_INPUT_VALIDATION_ERROR`."""
    try:
        return _inputs.validate_python(told)
    except ValidationError as cause:
        text = f"The input `{node}` takes {{operation: init | finalize | url, ...}}: {_faults(cause)}"
        raise refused("FLOW_INPUT_VALIDATION_ERROR", text, nodeId=node) from cause


def segment_of(metadata: dict[str, Any]) -> Segment | None:
    """The place in a parallel upload that metadata tells, if it does."""
    try:
        return Segment.model_validate(metadata)
    except ValidationError:
        return None


def _faults(error: ValidationError) -> str:
    faults = error.errors()
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in faults[:5])
