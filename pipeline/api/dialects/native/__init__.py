"""Our own API, `/v1`: a dialect like the others, and the one with every power."""

from pipeline.api.dialects.native import control, files, flows, groups, letters, monitoring, overview, runs, uploads
from pipeline.api.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *files.ENDPOINTS,
    *uploads.ENDPOINTS,
    *groups.ENDPOINTS,
    *flows.ENDPOINTS,
    *runs.ENDPOINTS,
    *letters.ENDPOINTS,
    *control.ENDPOINTS,
    *overview.ENDPOINTS,
    *monitoring.ENDPOINTS,
)
