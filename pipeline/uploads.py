"""The upload core: begin, append, finish, accept, abort, and what becomes of files afterwards: keep, delete, expire.

Every limit, type rule, checksum and "which flow runs now" lives here once; a dialect only translates. The sixth verb,
`fetch` (take a file from a URL), stands between accept and abort once it is built.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from pipeline.acts import ended
from pipeline.arrival import Arrival, Digest, Rules, safe_name
from pipeline.errors import (
    BodyIncomplete,
    BodyTooLong,
    FileNotFound,
    FileTooLarge,
    OffsetMismatch,
    RecordsUnavailable,
    SafelightError,
    SandboxClosed,
    StorageFull,
    StorageUnavailable,
    TypeMismatch,
    TypeNotAllowed,
    UploadBusy,
    UploadExpired,
    UploadNotFound,
)
from pipeline.imaging.header import facts_of, is_read
from pipeline.imaging.sandbox import Sandbox
from pipeline.model import File, Grant, ImageFacts, Intake, Upload, new_id, now
from pipeline.records import Records
from pipeline.settings import Settings
from pipeline.sniff import HEAD_SIZE
from pipeline.staging import Staging
from pipeline.storage.base import Storage

LEASE = 15.0
"""Seconds for which a request holds an upload; renewed while it lives, so a dead one blocks no longer than this."""
HEADER_TIMEOUT = 20.0
MANIFEST = ".json"

REFUSALS = (FileTooLarge, BodyTooLong, TypeNotAllowed, TypeMismatch)
"""What ends an upload for good while its bytes arrive."""
RESUMABLE = (BodyIncomplete, StorageUnavailable, StorageFull, RecordsUnavailable, SandboxClosed)
"""What an upload survives when it is finished: more bytes may come, or the fault may be over in a moment."""

OnStored = Callable[[Grant, File], Awaitable[None]]

log = structlog.stdlib.get_logger(__name__)


class Uploads:
    """Takes bytes in and answers with Files; a refused or failed one leaves nothing behind.

    `on_stored` is told of every file that is kept for good, after it is.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        records: Records,
        storages: Mapping[str, Storage],
        stagings: Mapping[str, Staging],
        headers: Sandbox,
        on_stored: OnStored,
    ) -> None:
        self._settings = settings
        self._records = records
        self._storages = storages
        self._stagings = stagings
        self._headers = headers
        self._on_stored = on_stored
        self._cleaning: set[asyncio.Future[Any]] = set()

    # The verbs

    async def begin(self, grant: Grant, intake: Intake) -> Upload:
        """Open an upload that takes its bytes in parts; raises `FileTooLarge` for a size declared beyond the limit."""
        upload = self._new_upload(grant, intake)
        await self._records.uploads.create(upload)
        return upload

    async def append(self, grant: Grant, id: str, offset: int, chunks: AsyncIterable[bytes]) -> Upload:
        """Add `chunks` at `offset` and return the upload as it stands; what came before a cut is kept.

        Raises `OffsetMismatch`, `UploadBusy`, `UploadExpired`, `UploadNotFound`; a breach of a limit or a type rule
        ends the upload.
        """
        await self._open_upload(grant, id)
        async with self._held(id):
            upload = await self.get(grant, id)
            if offset != upload.offset:
                raise OffsetMismatch(expected=upload.offset, given=offset)
            return await self._append(upload, Arrival(chunks, self._rules(grant, upload.intake), offset))

    async def finish(self, grant: Grant, id: str) -> File:
        """Turn an upload whose bytes are all there into its File; sent again, it answers with the same File.

        Raises `BodyIncomplete` (the upload goes on) or whatever its bytes are refused for (the upload is gone).
        """
        try:
            await self._open_upload(grant, id)
            async with self._held(id):
                return await self._finish_or_forget(grant, await self._open_upload(grant, id))
        except UploadNotFound:
            return await self._finished_before(grant, id)

    async def accept(self, grant: Grant, intake: Intake, chunks: AsyncIterable[bytes]) -> File:
        """Take a whole file in one go; when this raises, or is cancelled, nothing of it is left."""
        arrival = Arrival(chunks, self._rules(grant, intake), whole=True)
        await arrival.open()
        upload = self._new_upload(grant, intake, arrival.media_type)
        await self._records.uploads.create(upload)
        try:
            await self._staging(upload).append(upload, 0, arrival, final=True)
            media_type, digest = arrival.media_type or "", await arrival.digest.hex()
            await self._staging(upload).promote(upload, media_type)
            return await self._become_file(grant, upload, media_type, arrival.size, digest)
        except BaseException:
            await self._to_the_end(self._quietly(self._forget(upload)))
            raise

    async def abort(self, grant: Grant, id: str) -> None:
        """Forget an upload and everything that arrived of it; raises `UploadNotFound` or `UploadBusy`."""
        await self._owned_upload(grant, id)
        async with self._held(id):
            await self._to_the_end(self._forget(await self._owned_upload(grant, id)))

    async def get(self, grant: Grant, id: str) -> Upload:
        """The upload with the offset that is durably staged; raises `UploadNotFound` or `UploadExpired`."""
        upload = await self._open_upload(grant, id)
        return upload.model_copy(update={"offset": await self._staging(upload).offset(upload)})

    # Files

    async def keep(self, grant: Grant, id: str) -> File:
        """Store a file for good; a second time changes nothing. Raises `FileNotFound`."""
        file = await self._owned_file(grant, id)
        if file.stored_at is not None:
            return file
        async with self._held(id):
            file = await self._records.files.store(id, now())
            await self._write_manifest(file)
        await self._announce(grant, file)
        return file

    async def delete(self, grant: Grant, id: str) -> File:
        """Remove a file: bytes, manifest and record; raises `FileNotFound`, also the second time."""
        await self._owned_file(grant, id)
        async with self._held(id):
            file = await self._owned_file(grant, id)
            await self._to_the_end(self._remove_file(file))
            return file

    # What nobody came back for

    async def expire_upload(self, id: str, before: datetime) -> bool:
        """Forget an upload that should have ended by `before`; whether it was for us to do.

        False when it is in use, or another worker was faster. Raises `StorageUnavailable`.
        """

        async def expire() -> bool:
            upload = await self._records.uploads.get(id)
            if upload.expires_at > before:
                return False
            await self._forget(upload)
            return True

        return await self._expired(id, expire)

    async def expire_file(self, id: str, before: datetime) -> bool:
        """Remove a file that nobody stored by `before`; whether it was for us to do. Raises `StorageUnavailable`."""
        return await self._expired_file(id, lambda file: file.expires_at is not None and file.expires_at <= before)

    async def expire_output(self, id: str, before: datetime) -> bool:
        """Remove an output made before `before`; whether it was for us to do. Raises `StorageUnavailable`."""
        return await self._expired_file(id, lambda file: file.run is not None and file.created_at < before)

    async def close(self) -> None:
        """Wait until every clean-up of a cancelled request has ended."""
        while self._cleaning:
            await asyncio.wait(self._cleaning)

    # Before the bytes

    def _new_upload(self, grant: Grant, intake: Intake, media_type: str | None = None) -> Upload:
        id, storage = new_id(), intake.storage or grant.project.storage
        intake = intake.model_copy(update={"name": safe_name(intake.name, media_type or intake.declared_type)})
        if intake.declared_size is not None and intake.declared_size > self._limit(grant, intake):
            raise FileTooLarge(limit=self._limit(grant, intake))
        return Upload(
            id=id,
            project=grant.project.id,
            storage=storage,
            key=f"{grant.project.id}/files/{id[:2]}/{id}/{intake.name}",
            intake=intake,
            expires_at=now() + timedelta(seconds=self._settings.upload_expiry),
        )

    def _rules(self, grant: Grant, intake: Intake) -> Rules:
        limit = self._limit(grant, intake)
        if intake.declared_size is not None and intake.declared_size > limit:
            raise FileTooLarge(limit=limit)
        allowed = (grant.project.allowed_types, intake.types)
        return Rules(safe_name(intake.name), limit, intake.declared_size, intake.declared_type, allowed)

    def _limit(self, grant: Grant, intake: Intake) -> int:
        ours = grant.project.limits.max_file_size
        return ours if intake.max_size is None else min(ours, intake.max_size)

    def _storage(self, kept: Upload | File) -> Storage:
        return self._storages[kept.storage]

    def _staging(self, upload: Upload) -> Staging:
        return self._stagings[upload.storage]

    async def _owned_upload(self, grant: Grant, id: str) -> Upload:
        upload = await self._records.uploads.get(id)
        if upload.project != grant.project.id:
            raise UploadNotFound(id=id)
        return upload

    async def _open_upload(self, grant: Grant, id: str) -> Upload:
        upload = await self._owned_upload(grant, id)
        if upload.expires_at <= now():
            raise UploadExpired(id=id)
        return upload

    async def _owned_file(self, grant: Grant, id: str) -> File:
        file = await self._records.files.get(id)
        if file.project != grant.project.id:
            raise FileNotFound(id=id)
        return file

    # While they arrive

    async def _append(self, upload: Upload, arrival: Arrival) -> Upload:
        try:
            await arrival.open()
            offset = await self._staging(upload).append(upload, upload.offset, arrival)
            await self._records.uploads.advance(upload.id, offset)
            return upload.model_copy(update={"offset": offset})
        except REFUSALS:
            await self._to_the_end(self._quietly(self._forget(upload)))
            raise
        except BaseException:
            await self._to_the_end(self._quietly(self._note_offset(upload)))
            raise

    async def _note_offset(self, upload: Upload) -> None:
        await self._records.uploads.advance(upload.id, await self._staging(upload).offset(upload))

    @contextlib.asynccontextmanager
    async def _held(self, id: str) -> AsyncIterator[None]:
        holder = new_id()
        if not await self._records.uploads.lock(id, holder, LEASE):
            raise UploadBusy(id=id, retry_after=1)
        renewal = asyncio.create_task(self._renew(id, holder))
        try:
            yield
        finally:
            await self._to_the_end(self._let_go(id, holder, renewal))

    async def _let_go(self, id: str, holder: str, renewal: asyncio.Task[None]) -> None:
        await ended([renewal])
        await self._quietly(self._records.uploads.unlock(id, holder))

    async def _renew(self, id: str, holder: str) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            with contextlib.suppress(RecordsUnavailable):
                await self._records.uploads.lock(id, holder, LEASE)

    # When they are all there

    async def _finish_or_forget(self, grant: Grant, upload: Upload) -> File:
        try:
            return await self._finish(grant, upload)
        except RESUMABLE:
            raise
        except SafelightError:
            await self._to_the_end(self._quietly(self._forget(upload)))
            raise

    async def _finish(self, grant: Grant, upload: Upload) -> File:
        rules, storage = self._rules(grant, upload.intake), self._storage(upload)
        promoted = await storage.stat(upload.key)  # by an earlier try that did not come to its end
        size = promoted.size if promoted else await self._staging(upload).offset(upload)
        rules.check_end(size)
        if not promoted:
            await self._staging(upload).promote(upload, upload.intake.declared_type or "application/octet-stream")
        head, digest = await _read_through(storage.open(upload.key))
        return await self._become_file(grant, upload, rules.type_of(head), size, digest)

    async def _finished_before(self, grant: Grant, id: str) -> File:
        try:
            return await self._owned_file(grant, id)
        except FileNotFound as missing:
            raise UploadNotFound(id=id) from missing

    async def _become_file(self, grant: Grant, upload: Upload, media_type: str, size: int, digest: str) -> File:
        """The File that promoted bytes become: measured, described beside them, on record, announced."""
        file = self._file(grant, upload, media_type, size, digest, await self._measure(upload, media_type))
        await self._write_manifest(file)
        await self._commit(file)
        if file.stored_at is not None:
            await self._announce(grant, file)
        return file

    def _file(
        self, grant: Grant, upload: Upload, media_type: str, size: int, digest: str, image: ImageFacts | None
    ) -> File:
        intake, at = upload.intake, now()
        stored = grant.project.auto_store if intake.store is None else intake.store
        return File(
            id=upload.id,
            project=upload.project,
            storage=upload.storage,
            key=upload.key,
            name=intake.name,
            mime=media_type,
            size=size,
            sha256=digest,
            image=image,
            metadata=intake.metadata,
            private=intake.private,
            created_at=at,
            stored_at=at if stored else None,
            expires_at=None if stored else at + timedelta(seconds=self._settings.unstored_expiry),
        )

    async def _measure(self, upload: Upload, media_type: str) -> ImageFacts | None:
        """What the header of an image says, None for any other file; raises `ImageUnreadable` or `ImageTooLarge`."""
        allowed, frames = self._settings.allowed_formats, self._settings.max_frames
        if not is_read(media_type, allowed):
            return None
        caps = [cap for cap in (self._settings.max_pixels, upload.intake.max_pixels) if cap is not None]
        async with local_copy(self._storage(upload), upload.key, self._settings.data_dir / "tmp") as path:
            return await facts_of(self._headers, str(path), media_type, allowed, min(caps), frames, HEADER_TIMEOUT)

    async def _write_manifest(self, file: File) -> None:
        await write_manifest(self._storage(file), file)

    async def _commit(self, file: File) -> None:
        try:
            await self._records.uploads.finish(file.id, file)
        except UploadNotFound:
            if not await self._is_file(file.id):  # a commit sent twice by the client library finds itself done
                raise

    async def _is_file(self, id: str) -> bool:
        (file,) = await self._records.files.get_many([id])
        return file is not None

    async def _announce(self, grant: Grant, file: File) -> None:
        try:
            await self._on_stored(grant, file)
        except SafelightError as error:
            log.warning("on_upload_failed", file=file.id, code=error.code, reason=error.message)

    # Leaving nothing behind

    async def _forget(self, upload: Upload) -> None:
        """Remove an upload that did not become a File: bytes first, so that a record always leads to what is left."""
        if await self._is_file(upload.id):
            return
        await self._staging(upload).drop(upload)
        await delete_bytes(self._storage(upload), upload.key)
        await self._records.uploads.delete(upload.id)

    async def _remove_file(self, file: File) -> None:
        await delete_bytes(self._storage(file), file.key)
        await self._records.files.delete(file.id)

    async def _to_the_end(self, act: Coroutine[Any, Any, None]) -> None:
        """Do `act`, all of it even if the caller is cancelled meanwhile."""
        work = asyncio.ensure_future(act)
        self._cleaning.add(work)
        work.add_done_callback(self._ended)
        await asyncio.shield(work)

    def _ended(self, work: asyncio.Future[Any]) -> None:
        self._cleaning.discard(work)
        if not work.cancelled():
            work.exception()  # its caller may be gone

    async def _quietly(self, cleaning: Coroutine[Any, Any, None]) -> None:
        """Clean up after an error that says more than what goes wrong here; the sweep comes back to it."""
        try:
            await cleaning
        except SafelightError as error:
            log.warning("clean_up_postponed", code=error.code, exc_info=error)

    async def _expired_file(self, id: str, is_due: Callable[[File], bool]) -> bool:
        async def expire() -> bool:
            file = await self._records.files.get(id)
            if is_due(file):
                await self._remove_file(file)
                return True
            return False

        return await self._expired(id, expire)

    async def _expired(self, id: str, expire: Callable[[], Awaitable[bool]]) -> bool:
        try:
            async with self._held(id):
                return await expire()
        except (UploadBusy, UploadNotFound, FileNotFound):
            return False  # in use, or another worker was faster


@contextlib.asynccontextmanager
async def local_copy(storage: Storage, key: str, folder: Path) -> AsyncIterator[Path]:
    """A path at which the bytes under `key` can be read while the block runs; a copy in `folder` only if need be."""
    path = storage.local_path(key)
    if path is not None:
        yield path
        return
    copy = folder / new_id()
    await copy_to(storage, key, copy)
    try:
        yield copy
    finally:
        copy.unlink(missing_ok=True)


async def copy_to(storage: Storage, key: str, path: Path) -> None:
    """Write the bytes under `key` to a file at `path`, whole or not at all.

    Raises `StorageKeyNotFound`, `StorageUnavailable` or, when it is this disk that is full, `StorageFull`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as copy:
            async for chunk in storage.open(key):
                await asyncio.to_thread(copy.write, chunk)
    except BaseException as fault:
        path.unlink(missing_ok=True)
        if isinstance(fault, OSError):
            raise StorageFull from fault
        raise


async def write_manifest(storage: Storage, file: File) -> None:
    """Put the File beside its bytes as `<key>.json`, from which every record can be rebuilt."""
    text = file.model_dump_json().encode()
    await storage.put(file.key + MANIFEST, _once(text), len(text), "application/json")


async def delete_bytes(storage: Storage, key: str) -> None:
    """Remove the bytes under `key` and their manifest; a second time is fine."""
    await storage.delete(key)
    await storage.delete(key + MANIFEST)


async def _once(text: bytes) -> AsyncIterator[bytes]:
    yield text


async def _read_through(chunks: AsyncIterator[bytes]) -> tuple[bytes, str]:
    head, digest = b"", Digest()
    async for chunk in chunks:
        if len(head) < HEAD_SIZE:
            head += chunk[: HEAD_SIZE - len(head)]
        await digest.add(chunk)
    return head, await digest.hex()
