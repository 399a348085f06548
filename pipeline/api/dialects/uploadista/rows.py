"""Uploads and files as the records that clients see, with addresses that open them."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.api.addresses import content_url
from pipeline.api.endpoint import Call
from pipeline.model import File, Run
from pipeline.uploads.growing import Grown
from pipeline.vendors.uploadista import (
    STORAGE,
    Document,
    file_record,
    output_nodes,
    output_record,
    typed_output,
    upload_record,
)


def of_grown(call: Call, grown: Grown) -> Document:
    """An upload as it stands; its `url` is there once it is a file."""
    file = grown.file
    url = content_url(call, file.id, file.project, private=file.private) if file else None
    return upload_record(grown.upload, grown.upload.offset, url)


def of_file(call: Call, file: File, flow: Mapping[str, str] | None = None, storage: str | None = None) -> Document:
    """A file as a complete upload."""
    return file_record(file, content_url(call, file.id, file.project, private=file.private), flow, storage)


async def outputs(call: Call, run: Run) -> list[Document]:
    """What a completed run made, as typed outputs."""
    files = await call.core.records.files.get_many([output.id for output in run.outputs])
    private = {file.id: file.private for file in files if file is not None}
    storage, at = run.marks.get(STORAGE, "default"), run.finished_at or run.created_at
    told = []
    for node, output in zip(output_nodes(run.outputs), run.outputs, strict=True):
        url = content_url(call, output.id, run.project, private=private.get(output.id, False))
        told.append(typed_output(node, output_record(output, run, url, storage), at))
    return told
