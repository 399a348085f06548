"""What is looked at before promoted bytes may become a File: viruses, what an SVG does, how large a picture is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from pipeline.breakers import Breakers
from pipeline.errors import CircuitOpen, FileInfected, ScannerUnavailable
from pipeline.imaging.header import facts_of, is_read, purified_svg
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import Grant, ImageFacts, Upload
from pipeline.records.breakers import Callee
from pipeline.scanning import Scanner, Verdict
from pipeline.settings import Settings
from pipeline.storage.base import Storage
from pipeline.stored import local_copy
from pipeline.uploads.entry import check_picture, picture_limits

HEADER_TIMEOUT = 20.0
SCANS = 8
"""Files that one process has scanned at once; by default a daemon scans ten."""
SVG = "image/svg+xml"


@dataclass(frozen=True)
class Vetted:
    """The bytes that were found sound, which for an SVG need not be those that came, and their picture's facts."""

    size: int
    digest: str
    image: ImageFacts | None


class Vetting:
    """Looks at what has arrived; `headers` is where strangers' bytes are read."""

    def __init__(
        self, settings: Settings, storages: Mapping[str, Storage], headers: Sandbox, breakers: Breakers
    ) -> None:
        self._settings = settings
        self._storages = storages
        self._headers = headers
        self._breakers = breakers
        self._scanner = Scanner.at(settings.scanner) if settings.scanner else None
        self._scans = asyncio.Semaphore(SCANS)

    def is_read(self, grant: Grant, media_type: str) -> bool:
        """Whether bytes of this type are looked at, and so must lie in their storage for `vet`."""
        purified = media_type == SVG and grant.project.svg == "sanitise"
        return grant.project.scan or purified or is_read(media_type, self._settings.allowed_formats)

    async def vet(self, grant: Grant, upload: Upload, media_type: str, size: int, digest: str) -> Vetted:
        """What may become a File; a second time is fine.

        Raises `FileInfected`, `ScanTooLarge`, `ScannerUnavailable`, `SvgInvalid`, `ImageUnreadable`, `ImageTooLarge`,
        `ImageTooSmall` or one of their kinds, and `ImageSizeUnknown`.
        """
        if grant.project.scan:
            await self._scan(upload)
        if media_type == SVG and grant.project.svg == "sanitise":
            size, digest = await self._purify(upload, size, digest)
        return Vetted(size, digest, await self._measure(grant, upload, media_type))

    async def scan(self, project: str, storage: Storage, key: str) -> Verdict:
        """What the virus scanner says of the bytes under a key; raises `ScannerUnavailable` or `ScanTooLarge`."""
        if self._scanner is None:
            raise ScannerUnavailable
        callee = Callee("scan", project, self._scanner.place)
        content = cast(AsyncGenerator[bytes, None], storage.open(key))
        try:
            async with self._scans, aclosing(content) as chunks, self._breakers.over(callee):
                return await self._scanner.scan(chunks)
        except CircuitOpen as left_alone:  # who sends a file knows of no breakers
            raise ScannerUnavailable(retry_after=left_alone.retry_after) from left_alone

    async def _scan(self, upload: Upload) -> None:
        verdict = await self.scan(upload.project, self._storage(upload), upload.key)
        if verdict.signature is not None:
            raise FileInfected(name=upload.intake.name, signature=verdict.signature)

    async def _purify(self, upload: Upload, size: int, digest: str) -> tuple[int, str]:
        """Size and sha256 of what took the place of the bytes, or theirs when there was nothing to take out."""
        storage = self._storage(upload)
        async with local_copy(storage, upload.key, self._settings.data_dir / "tmp") as path:
            pure = await self._headers.call(purified_svg, str(path), timeout=HEADER_TIMEOUT)
        if (new := hashlib.sha256(pure).hexdigest()) == digest:
            return size, digest
        await storage.put(upload.key, _once(pure), len(pure), SVG)
        return len(pure), new

    async def _measure(self, grant: Grant, upload: Upload, media_type: str) -> ImageFacts | None:
        """What the header of an image says, None for any other file."""
        allowed = self._settings.allowed_formats
        if not is_read(media_type, allowed) and not media_type.startswith("image/"):
            return None
        limits, image = picture_limits(grant, upload.intake), None
        if is_read(media_type, allowed):
            most = min(self._settings.max_pixels, limits.max_pixels or self._settings.max_pixels)
            async with local_copy(self._storage(upload), upload.key, self._settings.data_dir / "tmp") as path:
                frames = self._settings.max_frames
                image = await facts_of(self._headers, str(path), media_type, allowed, most, frames, HEADER_TIMEOUT)
        check_picture(limits, image, media_type)
        return image

    def _storage(self, upload: Upload) -> Storage:
        return self._storages[upload.storage]


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
