"""Where finished bytes live: the kinds of storage by the scheme of their address."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from pipeline.errors import SettingsInvalid
from pipeline.storage.base import ByteRange, Stat, Storage
from pipeline.storage.local import LocalStorage
from pipeline.storage.memory import MemoryStorage
from pipeline.storage.s3 import S3Storage

__all__ = ["STORAGES", "ByteRange", "LocalStorage", "MemoryStorage", "S3Storage", "Stat", "Storage", "open_storage"]

STORAGES: Mapping[str, Callable[[str, Mapping[str, str]], Storage]] = {
    "memory": MemoryStorage.from_url,
    "file": LocalStorage.from_url,
    "s3": S3Storage.from_url,
}


def open_storage(url: str, environ: Mapping[str, str] = os.environ) -> Storage:
    """The storage at `url`; connections are made at its first use.

    `environ` fills values written as `env:NAME`. Raises `SettingsInvalid` for an address that cannot be understood.
    """
    scheme = url.partition("://")[0]
    if scheme not in STORAGES:
        raise SettingsInvalid(reason=f"A storage begins with one of {', '.join(f'{s}://' for s in STORAGES)}: {scheme}")
    return STORAGES[scheme](url, environ)
