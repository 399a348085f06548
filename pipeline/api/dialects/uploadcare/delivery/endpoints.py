"""The addresses of delivery; an id has the form of a UUID, so that nothing else at the root is meant by them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.api.dialects.uploadcare.delivery import acts
from pipeline.api.dialects.uploadcare.delivery.voice import DeliveryVoice
from pipeline.api.endpoint import Endpoint
from pipeline.describe import BINARY, Raw
from pipeline.errors import (
    DerivativePending,
    DerivativePoisoned,
    FileNotFound,
    GroupNotFound,
    ImageTooLarge,
    ImageUnreadable,
    MemberGone,
    MemberNotFound,
    NodeInvalid,
    RangeNotSatisfiable,
    SignatureExpired,
    SignatureInvalid,
    SignatureRequired,
    StorageKeyNotFound,
)

VOICE = DeliveryVoice()
HEX = "[0-9a-fA-F]+"
ID = f"{{id:{'-'.join([HEX] * 5)}}}"
TAIL = "{operations:(?:/.*)?}"
BYTES = {200: Raw("*/*", BINARY), 206: Raw("*/*", BINARY), 304: None}
SIGNING = (SignatureRequired, SignatureInvalid, SignatureExpired)
MAKING = (
    DerivativePending,
    DerivativePoisoned,
    ImageTooLarge,
    ImageUnreadable,
    NodeInvalid,
    RangeNotSatisfiable,
    StorageKeyNotFound,
)

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "GET",
        f"/{ID}{TAIL}",
        "Fetch a file as it was sent, or what operations make of it.",
        act=acts.file,
        tag="uploadcare delivery",
        api="uploadcare",
        answers=BYTES,
        errors=(FileNotFound, *MAKING, *SIGNING),
        public=True,
        voice=VOICE,
    ),
    Endpoint(
        "GET",
        f"/{ID}~{{count:[1-9][0-9]*}}{TAIL}",
        "Look at a group, fetch one of its files, or all of them as an archive.",
        act=acts.group,
        tag="uploadcare delivery",
        api="uploadcare",
        answers=BYTES,
        errors=(GroupNotFound, MemberGone, MemberNotFound, *MAKING, *SIGNING),
        public=True,
        voice=VOICE,
    ),
)
