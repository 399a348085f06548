"""Ittybit under `/ittybit`: upload addresses as of 2024-08-21, and the API from then to 2025-12-01, by version header.

`base_url` of the vendor's clients is `<here>/ittybit`. What is spoken and what is not: docs/dialects.
"""

from pipeline.api.dialects.ittybit import endpoints
from pipeline.api.dialects.ittybit.errors import VOICE
from pipeline.api.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = tuple(endpoints.ENDPOINTS)

__all__ = ["ENDPOINTS", "VOICE"]
