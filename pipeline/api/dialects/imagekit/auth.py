"""Who asks: servers by the private key in HTTP Basic, pages by what such a server signed for one upload.

Upload API v1: `signature` is the HMAC-SHA1, hex, of `token` and `expire` under the private key. v2: `token` is a JWT,
HS256 under the private key, whose `kid` is the public key and whose claims are the fields of the form. Either token is
good for one request, whatever comes of that request. Who has the private key may do anything in its project; who shows
a token may do what the fields of its one form say.
"""

from __future__ import annotations

import base64
import hmac
import time
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from uuid import uuid4

import jwt

from pipeline.api.access import Pass
from pipeline.api.dialects.imagekit.errors import NO_KEY, UNKNOWN_KEY, invalid, missing, refused
from pipeline.api.endpoint import Call
from pipeline.errors import KeyInvalid
from pipeline.model import Grant, Project
from pipeline.signing import secrets_of, signature, signed

LONGEST = 3600
"""Seconds that a signature of a page may last."""
USUAL = 1800
"""Seconds that one lasts for which no time was asked."""
FOR_EVER = 100 * 365 * 86_400.0
"""Seconds for which it is known that a token of v1 was used: whoever signs it once more must not have it accepted."""
SKEW = 60
"""Seconds by which the clock may be off that wrote when a JWT was issued."""
DIGITS = 16
"""Of the longest expiry that is read as a number."""
SIGNING = ("signature", "token", "expire")
"""The fields of a form by which a page shows that a server signed for it."""

PICK_ONE = (
    "Your request contains both private API key and client-side authentication parameters. "
    "Use only one method of authentication."
)


# Servers


async def server(call: Call) -> Grant:
    """Whom the private key of a request speaks for; refused without one that is known, and beyond the rate."""
    grant = _of_key(call, _user(call))
    call.speaks_for(grant)
    await call.core.records.rates.check(grant.project)
    return grant


def has_key(call: Call) -> bool:
    """Whether a request comes with a private key, known or not."""
    return (call.header("Authorization") or "").lower().startswith("basic ")


def _user(call: Call) -> bytes:
    """The private key; what stands behind it is no password but whatever the client always sends."""
    if not has_key(call):
        raise refused(NO_KEY, 401)
    _, _, given = (call.header("Authorization") or "").partition(" ")
    try:
        user, _, _ = base64.b64decode(given.strip(), validate=True).partition(b":")
    except ValueError as cause:
        raise refused(UNKNOWN_KEY, 403) from cause
    if not user:
        raise refused(NO_KEY, 401)
    return user


def _of_key(call: Call, given: bytes) -> Grant:
    """Every key is compared, however early one fits, so that time tells nothing."""
    found: Project | None = None
    for project in call.core.settings.projects.values():
        for secret in secrets_of(project):
            if hmac.compare_digest(secret, given):
                found = project
    if found is None:
        raise refused(UNKNOWN_KEY, 403)
    return Grant(project=found)


# Pages, version 1


async def page(call: Call, fields: Mapping[str, str]) -> Grant:
    """Whom a form signed for a page speaks for; its token is used up from then on."""
    if not any(fields.get(name) for name in ("publicKey", *SIGNING)):
        raise refused(NO_KEY, 401)
    for name in ("publicKey", *SIGNING):
        if not fields.get(name):
            raise missing(name)
    grant = _of_public_key(call, fields["publicKey"])
    token, expire = fields["token"], fields["expire"]
    _check_expiry(expire)
    if not signed(secrets_of(grant.project), f"{token}{expire}".encode(errors="replace"), fields["signature"], "sha1"):
        raise invalid("signature")
    if not await call.core.records.tokens.burn(_name(grant.project, token), FOR_EVER):
        raise refused(
            f"A token with value '{token[:100]}' has been used before. We suggest using V4 UUIDs, or another random "
            "string with enough entropy to avoid collisions."
        )
    await call.core.records.rates.check(grant.project)
    return grant


def _of_public_key(call: Call, key: str) -> Grant:
    try:
        grant = call.access.of_pass(Pass(key), continues=True)
    except KeyInvalid as cause:
        raise refused(UNKNOWN_KEY, 403) from cause
    call.speaks_for(grant)
    return grant


def _check_expiry(expire: str) -> None:
    at = int(time.time())
    seconds = int(expire) if expire.isascii() and expire.isdigit() and len(expire) <= DIGITS else None
    if seconds is not None and at < seconds < at + LONGEST:
        return
    clock = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    hint = " Yours looks like milliseconds." if seconds is not None and seconds > at * 100 else ""
    raise invalid(
        "expire",
        "Expire parameter should be a Unix time in less than 1 hour into the future. "
        f"It is in seconds; the server's time is {at} ({clock}).{hint}",
    )


def _name(project: Project, token: str) -> str:
    """Under which name a token is used up."""
    return sha256(f"imagekit\n{project.id}\n{token}".encode(errors="replace")).hexdigest()


def parameters(project: Project, token: str | None = None, expire: int | None = None) -> Mapping[str, Any]:
    """What a page needs to send one file; `expire` is a Unix time. Raises `ImagekitRefused` for one that is no use."""
    secrets = secrets_of(project)
    if not secrets:
        raise refused(UNKNOWN_KEY, 403)
    token = token or str(uuid4())
    expire = int(time.time()) + USUAL if expire is None else expire
    _check_expiry(str(expire))
    return {"token": token, "expire": expire, "signature": signature(secrets[0], f"{token}{expire}".encode(), "sha1")}


# Pages, version 2


async def bearer(call: Call, fields: Mapping[str, str]) -> Grant:
    """Whom a form with a JWT speaks for: one that says the same as the form, and was not shown before."""
    token = fields.get("token")
    if not token:
        raise missing("token")
    grant = _of_public_key(call, _key_id(token))
    claims = _claims(grant.project, token)
    _check_fields(fields, claims)
    if not await call.core.records.tokens.burn(_name(grant.project, token), claims["exp"] - time.time() + SKEW + 1):
        raise invalid("token", "The token has been used before; generate a new one for every upload.")
    await call.core.records.rates.check(grant.project)
    return grant


def _key_id(token: str) -> str:
    try:
        key = jwt.get_unverified_header(token).get("kid")
    except jwt.InvalidTokenError as cause:
        raise invalid("token", "The token is not a valid JWT.") from cause
    if not isinstance(key, str) or not key:
        raise invalid("token", "The header of the token has no kid with your public key.")
    return key


def _claims(project: Project, token: str) -> Mapping[str, Any]:
    """The claims of a JWT that one of the project's secrets signed; refused with what is wrong with it."""
    for secret in secrets_of(project):
        try:
            return _read(token, secret)
        except jwt.InvalidSignatureError:
            continue
        except jwt.ExpiredSignatureError as cause:
            raise invalid("token", "The token has expired.") from cause
        except jwt.InvalidTokenError as cause:
            raise invalid("token", "The token is not a valid JWT.") from cause
    raise invalid("token", "The signature of the token is not valid.")


def _read(token: str, secret: bytes) -> Mapping[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)  # how long a key is was its owner's choice
        options: Any = {"require": ["iat", "exp"], "verify_iat": False, "verify_nbf": False, "verify_aud": False}
        claims: Mapping[str, Any] = jwt.decode(token, secret, ["HS256"], options=options)
    issued, expires = claims["iat"], claims["exp"]
    if not isinstance(issued, int) or not isinstance(expires, int) or issued > time.time() + SKEW:
        raise invalid("token", "The iat and exp of the token should be Unix times, its iat not in the future.")
    if expires - issued > LONGEST:
        raise invalid("token", "The exp of the token should be at most 1 hour after its iat.")
    return claims


def _check_fields(fields: Mapping[str, str], claims: Mapping[str, Any]) -> None:
    """Refuse a form that says anything else than its JWT, more or less."""
    told = {name: value for name, value in fields.items() if name not in ("token", "file")}
    meant = {name: value for name, value in claims.items() if name not in ("iat", "exp")}
    for name in sorted(told.keys() | meant.keys()):
        if told.get(name) != meant.get(name):
            raise invalid("token", f"The payload of the token does not match the request at `{name[:64]}`.")
