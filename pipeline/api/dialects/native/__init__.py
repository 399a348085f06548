"""Our own API, `/v1`: a dialect like the others, and the one with every power."""

from pipeline.api.dialects.native import (
    control,
    fetches,
    files,
    filing,
    finding,
    flows,
    groups,
    letters,
    monitoring,
    overview,
    parts,
    runs,
    tickets,
    upload_events,
    uploads,
    waits,
    webhooks,
)
from pipeline.api.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *finding.ENDPOINTS,
    *files.ENDPOINTS,
    *filing.ENDPOINTS,
    *uploads.ENDPOINTS,
    *upload_events.ENDPOINTS,
    *parts.ENDPOINTS,
    *fetches.ENDPOINTS,
    *tickets.ENDPOINTS,
    *groups.ENDPOINTS,
    *flows.ENDPOINTS,
    *runs.ENDPOINTS,
    *waits.ENDPOINTS,
    *letters.ENDPOINTS,
    *webhooks.ENDPOINTS,
    *control.ENDPOINTS,
    *overview.ENDPOINTS,
    *monitoring.ENDPOINTS,
)
