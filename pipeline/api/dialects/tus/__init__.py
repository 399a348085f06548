"""tus 1.0, the open protocol of resumable uploads, at `/tus`; by a setting also the IETF's draft that follows it.

https://tus.io/protocols/resumable-upload, and draft-ietf-httpbis-resumable-upload for requests without `Tus-Resumable`.
"""

from pipeline.api.dialects.tus import endpoints
from pipeline.api.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (*endpoints.ENDPOINTS,)
