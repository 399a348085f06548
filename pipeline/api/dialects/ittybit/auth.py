"""Who asks: servers, by an API key behind `Bearer` or, as the documentation does too, without it."""

from __future__ import annotations

from pipeline.api.endpoint import Call
from pipeline.errors import KeyRequired
from pipeline.model import Grant


async def server(call: Call) -> Grant:
    """Whom a request speaks for; raises `KeyRequired`, `KeyInvalid` or `RateExceeded`."""
    if call.visitor is not None and not call.visitor.public:
        return call.visitor  # the gate has seen to its rate
    text = (call.header("Authorization") or "").strip()
    if not text:
        raise KeyRequired
    grant = call.access.grant(text if " " in text else f"Bearer {text}")
    call.speaks_for(grant)
    await call.core.records.rates.check(grant.project)
    return grant
