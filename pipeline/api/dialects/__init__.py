"""The dialects spoken here; each translates one API to the house's verbs."""

from pipeline.api.dialects import native, tus, uploadcare
from pipeline.api.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (*native.ENDPOINTS, *tus.ENDPOINTS, *uploadcare.ENDPOINTS)
