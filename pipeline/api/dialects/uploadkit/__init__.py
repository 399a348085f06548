"""UploadKit below `/uploadkit`: its reference page's API, its shipped server's, and what its browser SDK talks to.

What is spoken and what is not: docs/dialects.
"""

from pipeline.api.dialects.uploadkit.endpoints import ENDPOINTS

__all__ = ["ENDPOINTS"]
