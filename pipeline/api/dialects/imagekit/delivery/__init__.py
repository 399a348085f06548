"""Delivery: `/imagekit/ik/<project>/...`, files by their paths and what transformations make of them."""

from pipeline.api.dialects.imagekit.delivery.endpoints import ENDPOINTS
from pipeline.api.dialects.imagekit.delivery.recipes import recipe_of

__all__ = ["ENDPOINTS", "recipe_of"]
