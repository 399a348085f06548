"""Who asks: pages by the public key and, where a project wants it, a signature; servers by one of two schemes.

Upload API: `signature` is the HMAC-SHA256, hex, of the decimal `expire` under the secret key. REST API: either
`Uploadcare.Simple <public>:<secret>`, or `Uploadcare <public>:<signature>`, the HMAC-SHA1 of method, MD5 of the body,
content type, date and request target, each as it was sent, with line feeds between.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from email.utils import parsedate_to_datetime

from pipeline.api.access import Pass
from pipeline.api.bodies import JSON_LIMIT
from pipeline.api.dialects.uploadcare.errors import refused
from pipeline.api.dialects.uploadcare.params import Params
from pipeline.api.dialects.uploadcare.rest_errors import Unauthorized
from pipeline.api.endpoint import Call
from pipeline.errors import KeyInvalid
from pipeline.model import Grant
from pipeline.signing import secrets_of, signed

SKEW = 15 * 60
"""Seconds by which the date of a signed request may be off."""
LATEST = 12
"""Digits of the furthest expiry that is believed."""

_CREDENTIALS = re.compile(r"(Uploadcare|Uploadcare\.Simple) +([^\s:]+):(\S+) *")


# Upload API


def page(call: Call, params: Params, key: str) -> Grant:
    """Whom the public key in the field `key` speaks for; refused without one that is known."""
    given = params.get(key)
    if not given:
        raise refused("ProjectPublicKeyRequiredError", key)
    try:
        grant = call.access.of_pass(Pass(given), continues=True)
    except KeyInvalid as cause:
        raise refused("ProjectPublicKeyInvalidError", key) from cause
    call.speaks_for(grant)
    return grant


async def sender(call: Call, params: Params, key: str) -> Grant:
    """The same for what counts as an upload: within the project's rate, and signed if it wants that."""
    grant = page(call, params, key)
    await call.core.records.rates.check(grant.project)
    if grant.project.require_signed_uploads:
        _check_signature(grant, params)
    return grant


def _check_signature(grant: Grant, params: Params) -> None:
    given, expire = params.get("signature"), params.get("expire")
    if not given:
        raise refused("SignatureRequiredError")
    if not expire:
        raise refused("SignatureExpirationRequiredError")
    if not (expire.isascii() and expire.isdigit() and len(expire) <= LATEST):
        raise refused("SignatureExpirationInvalidError")
    if int(expire) < time.time():
        raise refused("SignatureExpirationError")
    if not signed(secrets_of(grant.project), expire.encode(), given):
        raise refused("SignatureInvalidError")


# REST API


async def server(call: Call) -> tuple[Grant, bytes]:
    """Whom a request of the REST API speaks for, and its body; raises `Unauthorized` or `RateExceeded`."""
    match = _CREDENTIALS.fullmatch(call.header("Authorization") or "")
    if match is None:
        raise Unauthorized(reason="Authentication credentials were not provided.")
    scheme, public_key, proof = match.groups()
    grant = _known(call, public_key)
    body = await call.body.whole(JSON_LIMIT) if call.request.body_exists else b""
    if scheme == "Uploadcare":
        _check_request(call, grant, body, proof)
    elif not _is_secret(grant, proof):
        raise Unauthorized(reason="Secret key not found.")
    call.speaks_for(grant)
    await call.core.records.rates.check(grant.project)
    return grant, body


def _known(call: Call, public_key: str) -> Grant:
    try:
        grant = call.access.of_pass(Pass(public_key), continues=True)
    except KeyInvalid as cause:
        raise Unauthorized(reason=f"Public key {public_key[:64]} not found.") from cause
    return grant.model_copy(update={"public": False})


def _is_secret(grant: Grant, given: str) -> bool:
    fits = False
    for secret in secrets_of(grant.project):
        fits |= hmac.compare_digest(secret, given.encode(errors="replace"))
    return fits


def _check_request(call: Call, grant: Grant, body: bytes, signature: str) -> None:
    date = call.header("X-Uploadcare-Date") or call.header("Date") or ""
    _check_date(date)
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    told = (call.request.method, digest, call.header("Content-Type") or "", date, call.request.raw_path)
    if not signed(secrets_of(grant.project), "\n".join(told).encode(), signature, "sha1"):
        raise Unauthorized(reason="Invalid signature. Please check your Secret key.")


def _check_date(date: str) -> None:
    """Clients write it in more than one way, some with a comma too many."""
    try:
        at = parsedate_to_datetime(re.sub(r"(\d{4}),", r"\1", date)).timestamp()
    except (ValueError, OverflowError, TypeError) as cause:
        raise Unauthorized(reason="Date header is required.") from cause
    if abs(at - time.time()) > SKEW:
        raise Unauthorized(reason="Date header is too far from now.")
