"""UploadKit's words: an upload that is complete, with its file; signed as Upstash QStash signs what it delivers.

`Upstash-Signature` is a JWT (RFC 7519) under HS256 whose key is the webhook's secret as it is written, and whose claims
name the address (`sub`) and the base64url of the body's SHA-256 (`body`). The body has the words of both of the
vendor's documents: those of its server, and the older ones with `event`.
"""

from __future__ import annotations

import warnings
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256

import jwt
import orjson

from pipeline.model import Webhook
from pipeline.vendors.uploadkit import file_row, key_of, public_url, shown_metadata
from pipeline.webhooks.message import Message, Posting

TOLD = "file.uploaded"
"""The one event of ours that is told."""
EVENT = "onUploadComplete"
"""What it is called there."""
ISSUER = "Upstash"
LASTS = 300
"""Seconds for which a signature holds."""
EARLY = 5
"""Seconds by which the receiver's clock may be behind."""


class Uploadkit:
    """One event about one file."""

    def body(self, message: Message, webhook: Webhook) -> bytes | None:
        file = message.file
        if message.type != TOLD or file is None:
            return None
        url = None if file.private else public_url(message.base_url, key_of(file))
        metadata = shown_metadata(file.metadata)
        told = {"event": EVENT, "file": file_row(file, url), "metadata": metadata, "projectId": file.project}
        return orjson.dumps(told)

    def headers(self, posting: Posting) -> Mapping[str, str]:
        headers = {"Content-Type": "application/json", "Upstash-Message-Id": posting.id}
        return headers | ({"Upstash-Signature": _signature(posting)} if posting.secrets else {})


def _signature(posting: Posting) -> str:
    at = int(posting.at.timestamp())
    digest = urlsafe_b64encode(sha256(posting.body).digest()).rstrip(b"=").decode()
    times = {"iat": at, "nbf": at - EARLY, "exp": at + LASTS}
    claims = {"iss": ISSUER, "sub": posting.url, **times, "jti": posting.id, "body": digest}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)  # how long a secret is was its owner's choice
        return jwt.encode(claims, posting.secrets[0], algorithm="HS256")
