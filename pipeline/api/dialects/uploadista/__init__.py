"""Uploadista below `/uploadista`: the vendor's cloud as its clients know it: tokens, uploads, flows and sockets.

What is spoken and what is not: docs/dialects.
"""

from pipeline.api.dialects.uploadista.endpoints import ENDPOINTS

__all__ = ["ENDPOINTS"]
