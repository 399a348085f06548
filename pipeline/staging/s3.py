"""Staging in S3: a multipart upload on the final key, so that promotion copies nothing, and a small tail beside it.

Under `.staging/<upload id>/` lie `multipart` (its id and part size, JSON), `tail-<n>-<length>` (the bytes from offset n
on that do not fill a part yet) and `part-<number>` (the entity tag of a numbered part). What counts is read from S3
each time: the parts it lists, then the longest tail that begins where they end; one that begins elsewhere was overtaken
by a part, a shorter one by a longer. So a write that comes late, from one who lost his turn, takes nothing away.
What was put at an address of ours lies under `put`: a copy of it is promoted, so that the address can change no file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from tempfile import SpooledTemporaryFile

import orjson

from pipeline import sniff
from pipeline.acts import settled
from pipeline.errors import OffsetMismatch, PartTagWrong, PartTooSmall, StorageKeyNotFound
from pipeline.model import Upload
from pipeline.staging.base import Check, Staged, passes, unchecked
from pipeline.storage.base import STAGING
from pipeline.storage.s3 import LEAST_PART, PART, Multipart, S3Storage, SentPart, part_size

JSON = "application/json"
PUT = "put"


@dataclass
class Standing:
    """How far one upload has come."""

    part_size: int
    """Every part of an append has exactly this size: one that was thought lost lands where it belongs, bytes."""
    multipart: Multipart | None = None
    parts: dict[int, SentPart] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    """What lies under `.staging/<upload id>/`, and its size."""
    promoted: int | None = None
    """The size under the final key, once there is no going on."""

    @property
    def begin(self) -> int:
        """Where the tail begins, bytes."""
        return sum(part.size for part in self.parts.values())


class S3Staging:
    """Keeps arriving bytes as parts of an S3 multipart upload."""

    def __init__(self, storage: S3Storage) -> None:
        self._storage = storage
        self._final: dict[str, tuple[Standing, bytes]] = {}
        """Uploads whose last append said that promotion follows, and their tails."""

    async def append(
        self,
        upload: Upload,
        offset: int,
        chunks: AsyncIterable[bytes],
        *,
        final: bool = False,
        check: Check = unchecked,
    ) -> int:
        self._final.pop(upload.id, None)
        standing = await self._standing(upload)
        if offset != (expected := self._end(upload, standing)):
            raise OffsetMismatch(expected=expected, given=offset)
        tail = bytearray(await self._tail(upload, standing))
        try:
            async for chunk in chunks:
                tail += chunk
                await self._send_parts(upload, standing, tail, check)
        except BaseException:
            if passes(check):
                await settled(self._keep_tail(upload, standing, tail, check))
            raise
        if final:
            self._final[upload.id] = standing, bytes(tail)
        else:
            await self._keep_tail(upload, standing, tail, check)
        return standing.begin + len(tail)

    async def replace(self, upload: Upload, body: bytes) -> None:
        await self._storage.write(self._name(upload, PUT), body, upload.intake.declared_type or sniff.UNKNOWN)

    async def read(self, upload: Upload, most: int) -> bytes | None:
        return None

    async def offset(self, upload: Upload) -> int:
        return self._end(upload, await self._standing(upload))

    async def part(self, upload: Upload, number: int, chunks: AsyncIterable[bytes]) -> int:
        with SpooledTemporaryFile(max_size=PART) as body:
            async for chunk in chunks:
                body.write(chunk)
            size = body.tell()
            body.seek(0)
            declared = upload.intake.declared_type or sniff.UNKNOWN
            multipart, _ = await self._found(upload) or await self._begun(upload, declared)
            tag = await multipart.send(number, body)
        await self._storage.write(self._name(upload, f"part-{number:05}"), tag.encode(), JSON)
        return size

    async def parts(self, upload: Upload) -> Mapping[int, int]:
        return {number: part.size for number, part in (await self._standing(upload)).parts.items()}

    async def part_url(self, upload: Upload, number: int, size: int, expires: float) -> str | None:
        declared = upload.intake.declared_type or sniff.UNKNOWN
        multipart, _ = await self._found(upload) or await self._begun(upload, declared)
        return await multipart.url(number, size, expires)

    async def confirm(self, upload: Upload, tags: Mapping[int, str]) -> None:
        found = await self._found(upload)
        sent = await found[0].parts() if found else None
        for number, tag in tags.items():
            known = {part.tag.strip('"'): part.tag for part in sent or () if part.number == number}
            if known and tag.strip('"') not in known:
                raise PartTagWrong(number=number)
            if len(known) > 1:
                confirmed = known[tag.strip('"')]
                await self._storage.write(self._name(upload, f"part-{number:05}"), confirmed.encode(), JSON)

    async def put_url(self, upload: Upload, media_type: str, size: int, expires: float) -> str | None:
        return await self._storage.presigned_put(self._name(upload, PUT), media_type, size, expires)

    async def promote(self, upload: Upload, media_type: str) -> None:
        standing, tail = self._final.get(upload.id) or await self._read(upload)
        if (put := self._name(upload, PUT)) in standing.kept:
            await self._storage.duplicate(put, self._storage.place(upload.key), media_type)
        elif standing.promoted is None:
            if standing.multipart:
                await self._complete(standing, standing.multipart, tail)
            elif tail or standing.kept or not await self._storage.stat(upload.key):
                await self._storage.write(self._storage.place(upload.key), tail, media_type)
        self._final.pop(upload.id, None)
        if standing.multipart or standing.kept:
            await self._forget(upload)

    async def drop(self, upload: Upload) -> None:
        self._final.pop(upload.id, None)
        for multipart in await self._storage.multiparts(self._storage.place(upload.key)):
            await multipart.abort()
        await self._forget(upload)

    async def left(self, before: datetime) -> AsyncGenerator[Staged, None]:
        latest: dict[str, datetime] = {}
        async for entry in self._storage.listed(f"{STAGING}/"):
            id = entry.key.split("/")[1]
            latest[id] = max(entry.modified, latest.get(id, entry.modified))
        for id, modified in latest.items():
            if modified < before:
                yield Staged(id, modified, upload=id)
        async for begun in self._storage.begun():
            if begun.at < before:
                yield Staged(f"{begun.multipart.id} {begun.key}", begun.at, key=begun.key)

    async def discard(self, staged: Staged) -> None:
        if staged.key is not None:
            id = staged.name.partition(" ")[0]
            await Multipart(self._storage, self._storage.place(staged.key), id).abort()
            return
        async for entry in self._storage.listed(f"{STAGING}/{staged.name}"):
            if entry.key.split("/")[1] == staged.name:
                await self._storage.remove(self._storage.staged(entry.key.removeprefix(f"{STAGING}/")))

    async def _standing(self, upload: Upload) -> Standing:
        kept = await self._storage.below(self._name(upload, ""))
        found = await self._found(upload) if self._name(upload, "multipart") in kept else None
        if found is None:
            return Standing(part_size(upload.intake.declared_size, LEAST_PART), kept=kept)
        multipart, size = found
        if (sent := await multipart.parts()) is not None:
            return Standing(size, multipart, await self._latest(upload, sent), kept)
        if (promoted := await self._storage.stat(upload.key)) is None:
            raise StorageKeyNotFound  # a lifecycle rule took the parts away under us
        return Standing(size, multipart, {}, kept, promoted.size)

    async def _read(self, upload: Upload) -> tuple[Standing, bytes]:
        standing = await self._standing(upload)
        return standing, await self._tail(upload, standing)

    def _end(self, upload: Upload, standing: Standing) -> int:
        if standing.promoted is not None:
            return standing.promoted
        put = standing.kept.get(self._name(upload, PUT), 0)
        return put or standing.begin + standing.kept.get(self._longest(upload, standing), 0)

    async def _tail(self, upload: Upload, standing: Standing) -> bytes:
        name = self._longest(upload, standing)
        return (await self._storage.read(name) or b"") if name else b""

    def _longest(self, upload: Upload, standing: Standing) -> str:
        """The tail that counts, nothing when there is none."""
        begin, kept = self._name(upload, f"tail-{standing.begin}-"), standing.kept
        return max((name for name in kept if name.startswith(begin)), key=kept.__getitem__, default="")

    async def _send_parts(self, upload: Upload, standing: Standing, tail: bytearray, check: Check) -> None:
        while len(tail) >= standing.part_size:
            check()
            if standing.multipart is None:
                media_type = sniff.media_type(bytes(tail[: sniff.HEAD_SIZE]), upload.intake.name)
                standing.multipart, standing.part_size = await self._begun(upload, media_type)
                continue
            body = bytes(memoryview(tail)[: standing.part_size])
            number = len(standing.parts) + 1
            tag = await standing.multipart.send(number, body)
            # Only a part that S3 confirmed leaves the tail, so that a failed one is still there to be kept.
            del tail[: len(body)]
            standing.parts[number] = SentPart(number, len(body), tag)

    async def _keep_tail(self, upload: Upload, standing: Standing, tail: bytearray, check: Check) -> None:
        name = self._name(upload, f"tail-{standing.begin}-{len(tail)}")
        check()
        if tail and name not in standing.kept:
            await self._storage.write(name, bytes(tail), sniff.UNKNOWN)
        for overtaken in standing.kept.keys() - {name, self._name(upload, "multipart")}:
            await self._storage.remove(overtaken)

    async def _complete(self, standing: Standing, multipart: Multipart, tail: bytes) -> None:
        parts = dict(standing.parts)
        if tail:
            last = len(parts) + 1
            parts[last] = SentPart(last, len(tail), await multipart.send(last, tail))
        for part in parts.values():
            if part.size < LEAST_PART and part.number != max(parts):
                raise PartTooSmall(number=part.number, size=part.size, least=LEAST_PART)
        await multipart.complete({part.number: part.tag for part in parts.values()})

    async def _begun(self, upload: Upload, media_type: str) -> tuple[Multipart, int]:
        """The multipart upload and its part size; of several who begin at once, the first to say so wins."""
        multipart = await Multipart.begin(self._storage, self._storage.place(upload.key), media_type)
        size = part_size(upload.intake.declared_size, LEAST_PART)
        if await self._storage.claim(
            self._name(upload, "multipart"), orjson.dumps({"id": multipart.id, "part_size": size})
        ):
            return multipart, size
        await multipart.abort()
        if (found := await self._found(upload)) is None:
            raise StorageKeyNotFound
        return found

    async def _found(self, upload: Upload) -> tuple[Multipart, int] | None:
        told = await self._storage.read(self._name(upload, "multipart"))
        if told is None:
            return None
        state = orjson.loads(told)
        return Multipart(self._storage, self._storage.place(upload.key), state["id"]), state["part_size"]

    async def _latest(self, upload: Upload, sent: list[SentPart]) -> dict[int, SentPart]:
        """The parts by number; where the server lists a part twice, the one that was confirmed, else the later one."""
        latest: dict[int, SentPart] = {}
        for part in sorted(sent, key=lambda part: (part.number, part.modified)):
            earlier = latest.get(part.number)
            if earlier and earlier.tag != part.tag:
                confirmed = await self._storage.read(self._name(upload, f"part-{part.number:05}"))
                if confirmed == earlier.tag.encode():
                    continue
            latest[part.number] = part
        return latest

    async def _forget(self, upload: Upload) -> None:
        for name in await self._storage.below(self._name(upload, "")):
            await self._storage.remove(name)

    def _name(self, upload: Upload, name: str) -> str:
        return self._storage.staged(f"{upload.id}/{name}")
