"""Delivery: `/<uuid>/` and what its operations make of it, and groups, at the root of the origin."""

from pipeline.api.dialects.uploadcare.delivery.endpoints import ENDPOINTS

__all__ = ["ENDPOINTS"]
