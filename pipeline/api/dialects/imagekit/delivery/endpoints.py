"""The addresses of delivery; what stands behind the project is read as it was sent."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.api.dialects.imagekit.delivery import acts
from pipeline.api.dialects.imagekit.delivery.voice import SIGNING, DeliveryVoice
from pipeline.api.endpoint import Endpoint
from pipeline.describe import BINARY, Raw
from pipeline.errors import (
    DerivativePending,
    DerivativePoisoned,
    FileNotFound,
    ImageTooLarge,
    ImageUnreadable,
    NodeInvalid,
    RangeNotSatisfiable,
    StorageKeyNotFound,
)

VOICE = DeliveryVoice()

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "GET",
        "/imagekit/ik/{project}/{address:.*}",
        "Fetch a file by its path as it is shown best, or what a transformation makes of it.",
        act=acts.show,
        tag="imagekit delivery",
        api="imagekit",
        answers={200: Raw("*/*", BINARY), 206: Raw("*/*", BINARY), 304: None},
        errors=(
            FileNotFound,
            *SIGNING,
            DerivativePending,
            DerivativePoisoned,
            ImageTooLarge,
            ImageUnreadable,
            NodeInvalid,
            RangeNotSatisfiable,
            StorageKeyNotFound,
        ),
        public=True,
        voice=VOICE,
    ),
)
