"""Who asks: servers by an API key, pages by a token that was given for one, and later requests for what either began.

The vendor's clients are given tokens by the application they belong to, which asks for them with the project's API key.
A token is a JWT (RFC 7519), HS256 under the project's first secret, for the audience `uploadista`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import uuid4

import jwt
from aiohttp import web

from pipeline import calls
from pipeline.api.dialects.uploadista.errors import refused
from pipeline.api.endpoint import UUID, Call, plain
from pipeline.errors import CallRejected, KeyInvalid, KeyRequired, RunNotFound, SafelightError, UploadNotFound
from pipeline.model import Grant, Project
from pipeline.signing import secrets_of
from pipeline.vendors.uploadista import said_of

LASTS = 900
"""Seconds that a token is good for."""
REMEMBERED = 3600
"""Seconds for which later requests for an upload or a job need no credentials."""
AUDIENCE, ISSUER = "uploadista", "safelight"
PAGES = ("flow:*", "upload:*")
"""What a token allows."""
SERVERS = ("engine:*", *PAGES)
"""What an API key allows."""
CHECK_SECONDS = 5.0
UNTIL, GRANTED = "uploadista.until", "uploadista.granted"
"""The marks of a run that say what requests without credentials may do with it, and until when."""


@dataclass(frozen=True)
class Caller:
    """Whom a request speaks for, and what it may do."""

    grant: Grant
    permissions: Sequence[str]

    def may(self, permission: str) -> bool:
        """Whether it has the permission itself or one above it: `flow:*` is all of `flow`, `engine:dlq` its parts."""
        parts = permission.split(":")
        above = {":".join(parts[:count]) for count in range(1, len(parts) + 1)}
        return any(held in above or held.removesuffix(":*") in above for held in self.permissions if held)


def checked(call: Call, caller: Caller, permission: str) -> Grant:
    """The caller's grant; raises `PERMISSION_DENIED`."""
    call.speaks_for(caller.grant)
    if not caller.may(permission):
        raise refused("PERMISSION_DENIED", f"Permission denied: {permission} required", requiredPermission=permission)
    return caller.grant


async def may(call: Call, permission: str) -> Grant:
    """Whom a request with credentials speaks for; raises `KeyRequired`, `KeyInvalid` or `PERMISSION_DENIED`."""
    return checked(call, await of_request(call), permission)


async def of_request(call: Call) -> Caller:
    """Whom the credentials of a request speak for; raises `KeyRequired`, `KeyInvalid` or `RateExceeded`."""
    if call.visitor is not None:
        return Caller(call.visitor, SERVERS)  # an API key was looked at, and counted, at the gate
    caller = of_bearer(call, _bearer(call))
    await call.core.records.rates.check(caller.grant.project)
    return caller


def _bearer(call: Call) -> str:
    scheme, _, token = (call.header("Authorization") or "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if key := call.header("X-Api-Key"):
        return key.strip()
    raise KeyRequired


def of_bearer(call: Call, token: str) -> Caller:
    """Whom a token, or an API key in its place, speaks for; raises `KeyInvalid` or, for a token, what is wrong."""
    try:
        return Caller(call.access.grant(f"Bearer {token}"), SERVERS)
    except (KeyInvalid, KeyRequired):
        if token.count(".") != 2:
            raise KeyInvalid from None
        return _of_token(call, token)


def _of_token(call: Call, token: str) -> Caller:
    try:
        client = jwt.decode(token, options={"verify_signature": False}).get("sub")
    except jwt.InvalidTokenError as cause:
        raise KeyInvalid from cause
    project = call.core.settings.projects.get(client) if isinstance(client, str) else None
    for secret in secrets_of(project) if project else ():
        try:
            claims = _claims(token, secret)
        except jwt.InvalidSignatureError:
            continue
        except jwt.ExpiredSignatureError as cause:
            raise refused("AUTHENTICATION_REQUIRED", "The token has expired; ask for a new one.") from cause
        except jwt.InvalidTokenError as cause:
            raise KeyInvalid from cause
        assert project is not None
        permissions = claims.get("permissions", PAGES)
        return Caller(Grant(project=project), tuple(str(one) for one in permissions))
    raise KeyInvalid


def _claims(token: str, secret: bytes) -> Mapping[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)  # how long a key is was its owner's choice
        options: Any = {"require": ["exp", "sub", "aud"]}
        claims: Mapping[str, Any] = jwt.decode(token, secret, ["HS256"], audience=AUDIENCE, options=options)
    return claims


# What an upload or a job remembers


async def for_upload(call: Call, permission: str) -> Grant:
    """The same as `may`, or who began the upload in the path, where no credentials come along any more."""
    return await _remembered(call, permission, _of_upload)


async def for_job(call: Call, permission: str) -> Grant:
    """The same as `may`, or who began the job in the path."""
    return await _remembered(call, permission, _of_job)


class Memory(NamedTuple):
    """What is remembered of a beginning: whose it was, until when (Unix seconds), and what may be done."""

    project: str
    until: float
    permissions: Sequence[str]


async def _remembered(call: Call, permission: str, recall: Callable[[Call, str], Awaitable[Memory]]) -> Grant:
    try:
        return await may(call, permission)
    except KeyRequired as unknown:
        id = call.request.match_info.get("id", "").lower()
        if not UUID.fullmatch(id):
            raise
        try:
            memory = await recall(call, id)
        except (UploadNotFound, RunNotFound):
            raise unknown from None
        project = call.core.settings.projects.get(memory.project)
        if project is None or memory.until < time.time():
            raise
        await call.core.records.rates.check(project)
        return checked(call, Caller(Grant(project=project), memory.permissions), permission)


async def _of_upload(call: Call, id: str) -> Memory:
    try:
        upload = await call.core.records.uploads.get(id)
    except UploadNotFound:
        upload = await call.core.records.uploads.ended(id)
    said = said_of(upload)
    return Memory(upload.project, said.until, said.granted)


async def _of_job(call: Call, id: str) -> Memory:
    run = await call.core.records.runs.get(id)
    return Memory(run.project, float(run.marks.get(UNTIL, 0)), run.marks.get(GRANTED, "").split())


def memory(permissions: Sequence[str]) -> Mapping[str, str]:
    """What a run that is begun remembers, as its marks."""
    return {UNTIL: str(int(time.time()) + REMEMBERED), GRANTED: " ".join(permissions)}


# Tokens


async def exchange(call: Call) -> web.Response:
    """A token for an API key of the project whose id is the client's; the key stands in the query, which no log has."""
    query = call.request.query
    key, client = query.get("apiKey"), query.get("clientId")
    if not key or not client:
        raise refused("VALIDATION_ERROR", "apiKey and clientId are required")
    grant = call.access.grant(f"Bearer {key}")
    call.speaks_for(grant)
    await call.core.records.rates.check(grant.project)
    if grant.project.id != client:
        raise refused("ORGANIZATION_MISMATCH", "This API key belongs to another client.")
    return _token(grant.project)


async def page_token(call: Call) -> web.Response:
    """A token for a page, if the project's own check knows who asks by cookies and Authorization."""
    project = call.core.settings.projects.get(call.place("client"))
    if project is None or project.token_check is None:
        raise refused("PERMISSION_DENIED", "No tokens are given to pages of this client; set its `token_check`.")
    call.speaks_for(Grant(project=project))
    await call.core.records.rates.check(project)
    if project.token_check != "open":  # noqa: S105 - a word of the settings
        await _ask(call, project, project.token_check)
    return _token(project)


async def _ask(call: Call, project: Project, url: str) -> None:
    given = {name: call.header(name) for name in ("Cookie", "Authorization")}
    headers = {name: value for name, value in given.items() if value} | {"X-Client-Id": project.id}
    asked = calls.Call(url, "GET", headers, within=CHECK_SECONDS)
    try:
        # The address is the settings' own, and an application beside this server is reached at a private one.
        await call.core.outbound.send(asked, call.core.settings.data_dir / "tmp", private=True)
    except CallRejected as cause:
        raise refused("AUTHENTICATION_REQUIRED", "Unauthorized") from cause
    except SafelightError as cause:
        raise refused("UNAVAILABLE", "The project's own check gave no answer.") from cause


def _token(project: Project) -> web.Response:
    at = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": project.id, "iat": at, "exp": at + LASTS, "jti": str(uuid4())}
    secrets = secrets_of(project)
    if not secrets:
        raise refused("PERMISSION_DENIED", "The client has no secret that could sign a token.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        token = jwt.encode({**claims, "permissions": list(PAGES)}, secrets[0], "HS256")
    response = plain({"token": token, "expiresIn": LASTS})
    response.headers["Cache-Control"] = "no-store"
    return response
