"""Who asks: servers by an API key of the project, in either header; pages by the public key in the handler's path."""

from __future__ import annotations

from pipeline.api.access import Pass
from pipeline.api.dialects.uploadkit.errors import KEY_HEADER
from pipeline.api.endpoint import Call
from pipeline.errors import KeyInvalid, KeyRequired
from pipeline.model import Grant


async def server(call: Call) -> Grant:
    """Whom a request speaks for; raises `KeyRequired`, `KeyInvalid` or `RateExceeded`."""
    key = call.header(KEY_HEADER)
    if key is None:
        return call.grant  # a Bearer key was looked at, and counted, at the gate
    try:
        grant = call.access.grant(f"Bearer {key}")
    except (KeyRequired, KeyInvalid):
        return call.grant
    call.speaks_for(grant)
    await call.core.records.rates.check(grant.project)
    return grant


async def page(call: Call) -> Grant:
    """Whom the handler's path speaks for; raises `KeyInvalid`, `RateExceeded` or what is wrong with its signature."""
    places = call.request.match_info
    shown = Pass(call.place("public_key"), places.get("signature"), places.get("expires", ""))
    grant = call.access.of_pass(shown)
    call.speaks_for(grant)
    await call.core.records.rates.check(grant.project)
    return grant
