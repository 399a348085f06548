"""The media management API under `/imagekit/v1`: what is in the library, found, changed, moved and deleted."""

from pipeline.api.dialects.imagekit.manage.endpoints import ENDPOINTS, UNSPOKEN

__all__ = ["ENDPOINTS", "UNSPOKEN"]
