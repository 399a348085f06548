"""The addresses of tus, and which act a request is for: the method may be told by a header, the protocol by another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from pipeline.api.dialects.tus import acts, draft
from pipeline.api.dialects.tus.speech import DRAFT_SPOKEN, VERSION
from pipeline.api.endpoint import Act, Call, Endpoint
from pipeline.describe import BINARY, Raw
from pipeline.errors import (
    BodyTimeout,
    BodyTooLong,
    BodyTooSlow,
    BodyTypeUnsupported,
    ChecksumMismatch,
    ChecksumUnknown,
    FileTooLarge,
    FlowNotFound,
    FlowPaused,
    ImageTooLarge,
    ImageUnreadable,
    MetadataInvalid,
    MethodNotAllowed,
    OffsetMismatch,
    ParamsInvalid,
    PieceInvalid,
    ProtocolUnknown,
    QuotaExceeded,
    SizeInconsistent,
    StorageFull,
    TypeMismatch,
    TypeNotAllowed,
    UploadBusy,
    UploadComplete,
    UploadExpired,
    UploadJoined,
    UploadNotFound,
    UploadTakenOver,
)

VOICE = draft.DraftVoice()
OF_ALL: Mapping[str, Act] = {"POST": acts.create, "OPTIONS": acts.options}
OF_ONE: Mapping[str, Act] = {"HEAD": acts.ask, "PATCH": acts.go_on, "DELETE": acts.end, "OPTIONS": acts.options}
DRAFT: Mapping[Act, Act] = {
    acts.create: draft.create,
    acts.options: draft.options,
    acts.ask: draft.ask,
    acts.go_on: draft.go_on,
}


async def collection(call: Call) -> web.StreamResponse:
    return await _chosen(call, OF_ALL)(call)


async def upload(call: Call) -> web.StreamResponse:
    return await _chosen(call, OF_ONE)(call)


def _chosen(call: Call, acts_of: Mapping[str, Act]) -> Act:
    """The act a request is for; raises `MethodNotAllowed` or `ProtocolUnknown`."""
    method = (call.header("X-HTTP-Method-Override") or call.request.method).upper()
    if method not in acts_of:
        raise MethodNotAllowed(allowed=", ".join(acts_of))
    version = call.header("Tus-Resumable")
    if version is None and call.core.settings.resumable_draft:
        call.request[DRAFT_SPOKEN] = True
        return DRAFT.get(acts_of[method], acts_of[method])
    if version != VERSION and method != "OPTIONS":
        raise ProtocolUnknown(known=VERSION)
    return acts_of[method]


OCTETS = (Raw(acts.BYTES, BINARY), Raw(draft.BYTES, BINARY))
RESUMABLE = {"Tus-Resumable": "`1.0.0`."}
FINDING = (UploadNotFound, UploadExpired, UploadBusy, ProtocolUnknown)
BEGINNING = (FlowNotFound, FlowPaused, MetadataInvalid, ParamsInvalid, PieceInvalid, ProtocolUnknown, QuotaExceeded)
ARRIVING = (
    BodyTimeout,
    BodyTooLong,
    BodyTooSlow,
    ChecksumMismatch,
    ChecksumUnknown,
    FileTooLarge,
    ImageTooLarge,
    ImageUnreadable,
    StorageFull,
    TypeMismatch,
    TypeNotAllowed,
)
GROWING = (BodyTypeUnsupported, OffsetMismatch, SizeInconsistent, UploadComplete, UploadJoined, UploadTakenOver)

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "POST",
        "/tus",
        "Create a resumable upload (tus 1.0), with or without its first bytes.",
        act=collection,
        tag="tus",
        headers=RESUMABLE
        | {
            "Upload-Length": "Bytes of the whole file.",
            "Upload-Defer-Length": "`1` when they are not known yet.",
            "Upload-Metadata": "`filename`, `filetype`, a `flow` to run and its `params` (JSON), and any metadata.",
            "Upload-Concat": "`partial`, or `final;` and the uploads to join.",
            "Upload-Checksum": "Algorithm and value of the body.",
        },
        answers={201: None},
        errors=(*BEGINNING, *ARRIVING),
        by_public_key="signed",
        voice=VOICE,
        also=("/tus/",),
    ),
    Endpoint(
        "OPTIONS",
        "/tus",
        "See which version and extensions of tus are spoken.",
        act=collection,
        tag="tus",
        answers={204: None},
        public=True,
        voice=VOICE,
        also=("/tus/",),
    ),
    Endpoint(
        "HEAD",
        "/tus/{id}",
        "See how far a resumable upload has come; an older request that still writes to it is ended.",
        act=upload,
        tag="tus",
        headers=RESUMABLE,
        answers={200: None},
        errors=FINDING,
        by_public_key="known",
        voice=VOICE,
    ),
    Endpoint(
        "PATCH",
        "/tus/{id}",
        "Go on with a resumable upload; with the last byte it becomes a file.",
        act=upload,
        tag="tus",
        headers=RESUMABLE
        | {
            "Upload-Offset": "Where the bytes go; must be where the upload stands.",
            "Upload-Length": "Bytes of the whole file, when it was deferred.",
            "Upload-Checksum": "Algorithm and value of the body.",
        },
        body=OCTETS,
        answers={204: None},
        errors=(*FINDING, *GROWING, *ARRIVING),
        by_public_key="known",
        voice=VOICE,
    ),
    Endpoint(
        "DELETE",
        "/tus/{id}",
        "Forget a resumable upload and what arrived of it.",
        act=upload,
        tag="tus",
        headers=RESUMABLE,
        answers={204: None},
        errors=FINDING,
        by_public_key="known",
        voice=VOICE,
    ),
    Endpoint(
        "POST",
        "/tus/{id}",
        "The same for clients that cannot send every method.",
        act=upload,
        tag="tus",
        headers=RESUMABLE | {"X-HTTP-Method-Override": "`PATCH`, `HEAD` or `DELETE`."},
        answers={204: None},
        errors=(MethodNotAllowed, *FINDING, *GROWING, *ARRIVING),
        by_public_key="known",
        voice=VOICE,
    ),
    Endpoint(
        "OPTIONS",
        "/tus/{id}",
        "See which version and extensions of tus are spoken.",
        act=upload,
        tag="tus",
        answers={204: None},
        public=True,
        voice=VOICE,
    ),
)
