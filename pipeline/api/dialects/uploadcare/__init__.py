"""Uploadcare at the origin's root: Upload API of 2022-04-20, REST API 0.7 and URL API, as its own clients call them.

Its Python and REST clients drop a path in front, so there is none. What is spoken and what is not: docs/dialects.
"""

from pipeline.api.dialects.uploadcare import delivery, endpoints
from pipeline.api.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (*endpoints.ENDPOINTS, *delivery.ENDPOINTS)
