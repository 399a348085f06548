"""ImageKit under `/imagekit`: Upload API v1 and v2, the media management API, and delivery under `/imagekit/ik`.

One address serves all three, so a client is given this one as its base URL. What is spoken and what is not:
docs/dialects.
"""

from pipeline.api.dialects.imagekit import delivery, endpoints, manage
from pipeline.api.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (*endpoints.ENDPOINTS, *manage.ENDPOINTS, *delivery.ENDPOINTS)
