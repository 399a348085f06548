"""Where arriving bytes wait until they are whole; each storage has the staging that lets promotion copy nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.staging.base import Staged, Staging
from pipeline.staging.local import LocalStaging
from pipeline.staging.memory import MemoryStaging
from pipeline.staging.s3 import S3Staging
from pipeline.storage import LocalStorage, MemoryStorage, S3Storage, Storage

__all__ = ["STAGINGS", "LocalStaging", "MemoryStaging", "S3Staging", "Staged", "Staging", "staging_for"]

STAGINGS: Mapping[type[Storage], Callable[[Any], Staging]] = {
    MemoryStorage: MemoryStaging,
    LocalStorage: LocalStaging,
    S3Storage: S3Staging,
}


def staging_for(storage: Storage) -> Staging:
    """The staging that belongs to `storage`."""
    return STAGINGS[type(storage)](storage)
