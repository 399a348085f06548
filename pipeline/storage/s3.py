"""A storage in a bucket of any S3 server: bytes stream through in parts, so memory stays at one part a transfer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from uuid import uuid4

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from pipeline.errors import RangeNotSatisfiable, SettingsInvalid, StorageFull, StorageKeyNotFound, StorageUnavailable
from pipeline.storage.base import STAGING, ByteRange, Content, Listed, Stat, Tally, checked_key
from pipeline.storage.signed import SignedPuts

if TYPE_CHECKING:
    from aiobotocore.config import AioConfig
    from types_aiobotocore_s3.client import S3Client
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef, PartTypeDef

PART = 8 * 1024 * 1024
"""Usual size of the parts a `put` is sent in, bytes."""
LEAST_PART = 5 * 1024 * 1024
"""S3 refuses a smaller part unless it is the last, bytes."""
MOST_PARTS = 10_000
"""S3 takes no more parts for one key."""
READ = 256 * 1024
SMALL = 1024 * 1024
"""Bodies of at most so many bytes are put without the client."""
CHECK_SECONDS = 5
MISSING = {"NoSuchKey", "404", "NotFound"}
FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "507"}
OPTIONS = {"endpoint", "region", "access_key", "secret_key"}


@dataclass(frozen=True)
class Bucket:
    """Which bucket at which server, and with whose keys; None leaves the choice to the AWS defaults."""

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = None


class S3Storage:
    """Finished bytes under `prefix` of a bucket; `s3://bucket/prefix?endpoint=http://host:8333&region=us-east-1`.

    The keys of the account come from the standard AWS sources (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, a
    profile, the machine's role), or from the address: `&access_key=env:NAME&secret_key=env:NAME`, the values
    themselves, or `s3://access:secret@bucket`. Give the bucket a lifecycle rule that aborts incomplete multipart
    uploads after more days than an upload may live; only a process killed in the middle of a transfer leaves any.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._client: S3Client | None = None
        self._puts: SignedPuts | None = None
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()

    @classmethod
    def from_url(cls, url: str, environ: Mapping[str, str]) -> S3Storage:
        """The storage at `url`; raises `SettingsInvalid` with what is wrong in it."""
        return cls(_bucket(url, environ))

    async def put(
        self, key: str, chunks: AsyncIterable[bytes], size: int | None, media_type: str, *, lasting: bool = True
    ) -> int:
        place = self.place(key)
        tally = Tally(size)
        transfer = Transfer(self, place, media_type, part_size(size, PART))
        try:
            async for chunk in chunks:
                await transfer.write(tally.took(chunk))
            total = tally.total()
            await transfer.finish()
        except BaseException:
            await asyncio.shield(transfer.abort())
            raise
        return total

    async def put_all(self, contents: Sequence[Content]) -> None:
        places = [self.place(content.key) for content in contents]
        puts = [self.write(place, one.body, one.media_type) for place, one in zip(places, contents, strict=True)]
        faults = await asyncio.gather(*puts, return_exceptions=True)
        for fault in filter(None, faults):
            raise fault

    async def open(self, key: str, part: ByteRange | None = None) -> AsyncIterator[bytes]:
        body = (await self._get(key, part))["Body"]
        async with body:
            while True:
                with faults_spoken():
                    piece = await body.read(READ)
                if not piece:
                    return
                yield piece

    async def _get(self, key: str, part: ByteRange | None) -> GetObjectOutputTypeDef:
        place, client = self.place(key), await self.client()
        with faults_spoken():
            if part is None:
                return await client.get_object(Bucket=self.bucket.name, Key=place)
            try:
                last = "" if part.end is None else part.end
                return await client.get_object(Bucket=self.bucket.name, Key=place, Range=f"bytes={part.start}-{last}")
            except ClientError as error:
                if code(error) not in ("InvalidRange", "416"):
                    raise
        found = await self.stat(key)
        raise RangeNotSatisfiable(size=found.size if found else 0)

    async def stat(self, key: str) -> Stat | None:
        place, client = self.place(key), await self.client()
        with faults_spoken():
            try:
                head = await client.head_object(Bucket=self.bucket.name, Key=place)
            except ClientError as error:
                if code(error) in MISSING:
                    return None
                raise
        return Stat(head["ContentLength"], head.get("ContentType", "application/octet-stream"), head["ETag"].strip('"'))

    async def delete(self, key: str) -> None:
        await self.remove(self.place(key))

    async def copy(self, source: str, target: str) -> None:
        places, found = (self.place(source), self.place(target)), await self.stat(source)
        if found is None:
            raise StorageKeyNotFound
        await self.duplicate(*places, found.media_type)

    async def url(
        self, key: str, expires: float, media_type: str | None = None, attachment: str | None = None
    ) -> str | None:
        wishes: dict[str, Any] = {"Bucket": self.bucket.name, "Key": self.place(key)}
        if media_type:
            wishes["ResponseContentType"] = media_type
        if attachment:
            wishes["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quote(attachment, safe='')}"
        return await self.presigned("get_object", wishes, expires)

    async def presign_put(self, key: str, expires: float, media_type: str, size: int) -> str | None:
        return await self.presigned_put(self.place(key), media_type, size, expires)

    def local_path(self, key: str) -> Path | None:
        return None

    async def listing(self, after: str | None = None) -> AsyncGenerator[Listed, None]:
        async for entry in self.listed("", after):
            if not entry.key.startswith(f"{STAGING}/"):
                yield entry

    async def check(self) -> None:
        probe = self.staged(f"check-{uuid4()}")
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self.write(probe, b"\0", "application/octet-stream")
                await self.remove(probe)
        except TimeoutError as error:
            raise StorageUnavailable from error

    async def close(self) -> None:
        self._client = self._puts = None
        await self._stack.aclose()

    async def client(self) -> S3Client:
        """The one connection pool of this storage, made at the first call."""
        async with self._opening:
            if self._client is None:
                with faults_spoken():
                    self._client = await self._opened()
            return self._client

    def place(self, key: str) -> str:
        """The S3 key for one of ours; raises `PathInvalid`."""
        return self._below_prefix(checked_key(key))

    def staged(self, name: str) -> str:
        """The S3 key of something unfinished."""
        return self._below_prefix(f"{STAGING}/{name}")

    async def presigned_put(self, place: str, media_type: str, size: int, expires: float) -> str:
        """An address that puts exactly so many bytes of this type at an S3 key."""
        claim = {"Bucket": self.bucket.name, "Key": place, "ContentType": media_type, "ContentLength": size}
        return await self.presigned("put_object", claim, expires)

    async def duplicate(self, source: str, place: str, media_type: str) -> None:
        """Copy within the bucket, from one S3 key to another, under this type; nothing passes through us."""
        client = await self.client()
        with faults_spoken():
            await client.copy(
                {"Bucket": self.bucket.name, "Key": source},
                self.bucket.name,
                place,
                ExtraArgs={"ContentType": media_type, "MetadataDirective": "REPLACE"},
            )

    async def write(self, place: str, body: bytes, media_type: str) -> None:
        """Put a small body at an S3 key."""
        client = await self.client()
        if self._puts and len(body) <= SMALL and await self._puts.put(place, body, media_type):
            return
        with faults_spoken():
            await client.put_object(Bucket=self.bucket.name, Key=place, Body=body, ContentType=media_type)

    async def claim(self, place: str, body: bytes) -> bool:
        """Put a small body at an S3 key unless something is there; whether it was us."""
        client = await self.client()
        with faults_spoken():
            try:
                await client.put_object(Bucket=self.bucket.name, Key=place, Body=body, IfNoneMatch="*")
            except ClientError as error:
                if code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                    return False
                raise
        return True

    async def read(self, place: str) -> bytes | None:
        """The small body at an S3 key, None when nothing is there."""
        client = await self.client()
        with faults_spoken():
            try:
                answer = await client.get_object(Bucket=self.bucket.name, Key=place)
            except ClientError as error:
                if code(error) in MISSING:
                    return None
                raise
            async with answer["Body"]:
                return await answer["Body"].read()

    async def remove(self, place: str) -> None:
        """Forget an S3 key."""
        client = await self.client()
        with faults_spoken():
            await client.delete_object(Bucket=self.bucket.name, Key=place)

    async def below(self, folder: str) -> dict[str, int]:
        """Every S3 key that begins with `folder`, and its size."""
        client = await self.client()
        found: dict[str, int] = {}
        with faults_spoken():
            async for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name, Prefix=folder):
                found |= {entry["Key"]: entry["Size"] for entry in page.get("Contents", [])}
        return found

    async def listed(self, start: str, after: str | None = None) -> AsyncIterator[Listed]:
        """What lies under our keys that begin with `start`, unfinished bytes too, behind `after` if it is given."""
        client, prefix = await self.client(), self._below_prefix("")
        wish: Any = {"Bucket": self.bucket.name, "Prefix": prefix + start}
        if after:
            wish["StartAfter"] = prefix + after
        with faults_spoken():
            async for page in client.get_paginator("list_objects_v2").paginate(**wish):
                for entry in page.get("Contents", []):
                    yield Listed(entry["Key"].removeprefix(prefix), entry["Size"], entry["LastModified"])

    async def multiparts(self, place: str) -> list[Multipart]:
        """The multipart uploads to an S3 key that nobody has finished."""
        return [begun.multipart async for begun in self.begun(place) if begun.multipart.place == place]

    async def begun(self, start: str | None = None) -> AsyncIterator[Begun]:
        """Multipart uploads that nobody has finished, to S3 keys that begin with `start`; all of ours without it."""
        client, prefix = await self.client(), self._below_prefix("")
        pages = client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.bucket.name, Prefix=prefix if start is None else start
        )
        with faults_spoken():
            async for page in pages:
                for upload in page.get("Uploads", []):
                    multipart = Multipart(self, upload["Key"], upload["UploadId"])
                    yield Begun(multipart, upload["Key"].removeprefix(prefix), upload["Initiated"])

    def _below_prefix(self, key: str) -> str:
        return f"{self.bucket.prefix}/{key}" if self.bucket.prefix else key

    async def presigned(
        self, verb: Literal["get_object", "put_object", "upload_part"], params: dict[str, Any], expires: float
    ) -> str:
        """An address that does one call with these parameters, for `expires` seconds."""
        client = await self.client()
        with faults_spoken():
            return await client.generate_presigned_url(verb, Params=params, ExpiresIn=max(1, ceil(expires)))

    async def _opened(self) -> S3Client:
        import aioboto3  # a third of a second, which only those who use S3 should wait for

        bucket = self.bucket
        session = aioboto3.Session(
            aws_access_key_id=bucket.access_key,
            aws_secret_access_key=bucket.secret_key,
            region_name=bucket.region,
        )
        client: S3Client = await self._stack.enter_async_context(
            session.client("s3", endpoint_url=bucket.endpoint, config=_config(bucket))
        )
        coming: Any = session.get_credentials()  # which its types take for what comes
        if (credentials := await coming) is not None:
            # Only the client knows in which form this server wants the name of the bucket.
            some = await client.generate_presigned_url("put_object", Params={"Bucket": bucket.name, "Key": "k"})
            self._puts = SignedPuts(some.partition("?")[0].removesuffix("k"), client.meta.region_name, credentials)
            self._stack.push_async_callback(self._puts.close)
        return client


class Multipart:
    """One S3 multipart upload: parts in any order, then all of it or nothing."""

    def __init__(self, storage: S3Storage, place: str, id: str) -> None:
        self.place = place
        self.id = id
        self._storage = storage
        self._name: Any = {"Bucket": storage.bucket.name, "Key": place, "UploadId": id}

    @classmethod
    async def begin(cls, storage: S3Storage, place: str, media_type: str) -> Multipart:
        client = await storage.client()
        with faults_spoken():
            begun = await client.create_multipart_upload(Bucket=storage.bucket.name, Key=place, ContentType=media_type)
        return cls(storage, place, begun["UploadId"])

    async def send(self, number: int, body: bytes | IO[bytes]) -> str:
        """Send part `number` (from 1); returns its entity tag."""
        client = await self._storage.client()
        with faults_spoken():
            return (await client.upload_part(**self._name, PartNumber=number, Body=body))["ETag"]

    async def url(self, number: int, size: int, expires: float) -> str:
        """An address that takes part `number`, of exactly this size."""
        claim = {**self._name, "PartNumber": number, "ContentLength": size}
        return await self._storage.presigned("upload_part", claim, expires)

    async def parts(self) -> list[SentPart] | None:
        """What the server has, by number; None when it no longer knows the upload.

        Some servers list a part that was sent twice twice.
        """
        client = await self._storage.client()
        found: list[SentPart] = []
        with faults_spoken():
            try:
                async for page in client.get_paginator("list_parts").paginate(**self._name):
                    found += [_sent(part) for part in page.get("Parts", [])]
            except ClientError as error:
                if code(error) == "NoSuchUpload":
                    return None
                raise
        return sorted(found, key=lambda part: part.number)

    async def complete(self, tags: Mapping[int, str]) -> None:
        """Make the parts with these entity tags, by number, the bytes under the key."""
        client = await self._storage.client()
        parts: list[CompletedPartTypeDef] = [{"PartNumber": n, "ETag": tag} for n, tag in sorted(tags.items())]
        with faults_spoken():
            await client.complete_multipart_upload(**self._name, MultipartUpload={"Parts": parts})

    async def abort(self) -> None:
        """Forget every part; a second time is fine."""
        client = await self._storage.client()
        with faults_spoken():
            try:
                await client.abort_multipart_upload(**self._name)
            except ClientError as error:
                if code(error) != "NoSuchUpload":
                    raise


@dataclass(frozen=True)
class Begun:
    """A multipart upload that was begun, with our key for what it would become."""

    multipart: Multipart
    key: str
    at: datetime


@dataclass(frozen=True)
class SentPart:
    """A part the server has."""

    number: int
    size: int
    tag: str
    modified: float = 0.0
    """When it came as far as the server tells, Unix seconds."""


def _sent(part: PartTypeDef) -> SentPart:
    return SentPart(part["PartNumber"], part["Size"], part["ETag"], part["LastModified"].timestamp())


class Transfer:
    """Bytes of unknown number on their way to one key: one request below a part, else a multipart upload."""

    def __init__(self, storage: S3Storage, place: str, media_type: str, part_size: int) -> None:
        self._storage = storage
        self._place = place
        self._media_type = media_type
        self._part_size = part_size
        self._waiting = bytearray()
        self._multipart: asyncio.Task[Multipart] | None = None
        self._tags: dict[int, str] = {}

    async def write(self, chunk: bytes) -> None:
        self._waiting += chunk
        while len(self._waiting) >= self._part_size:
            await self._send(cut(self._waiting, self._part_size))

    async def finish(self) -> None:
        """Make everything visible under the key."""
        if self._multipart is None:
            return await self._storage.write(self._place, bytes(self._waiting), self._media_type)
        if self._waiting:
            await self._send(bytes(self._waiting))
        return await (await self._multipart).complete(self._tags)

    async def abort(self) -> None:
        """Leave nothing behind; a server that does not answer is left to its lifecycle rule."""
        if self._multipart is not None:
            with suppress(StorageUnavailable):
                await (await self._multipart).abort()

    async def _send(self, body: bytes) -> None:
        if self._multipart is None:
            # A task of its own, so that a cancelled transfer still learns the id it has to abort.
            self._multipart = asyncio.create_task(Multipart.begin(self._storage, self._place, self._media_type))
        multipart = await asyncio.shield(self._multipart)
        number = len(self._tags) + 1
        self._tags[number] = await multipart.send(number, body)


def part_size(size: int | None, usual: int) -> int:
    """How large the parts of `size` bytes are, so that they never are too many; None for an unknown size."""
    return max(usual, ceil((size or 0) / MOST_PARTS))


def cut(waiting: bytearray, length: int) -> bytes:
    """Take the first `length` bytes out of `waiting`."""
    with memoryview(waiting) as view, view[:length] as head:
        body = bytes(head)
    del waiting[:length]
    return body


def code(error: ClientError) -> str:
    """The S3 error code of a refusal; the HTTP status for an answer without a body."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def faults_spoken() -> Iterator[None]:
    """Turns the faults of client, network and server into ours."""
    try:
        yield
    except ClientError as error:
        if code(error) in MISSING:
            raise StorageKeyNotFound from error
        raise (StorageFull() if code(error) in FULL else StorageUnavailable()) from error
    except (BotoCoreError, aiohttp.ClientError, OSError) as error:
        raise StorageUnavailable from error


def _config(bucket: Bucket) -> AioConfig:
    from aiobotocore.config import AioConfig

    return AioConfig(
        signature_version="s3v4",
        s3={"addressing_style": "path" if bucket.endpoint else "auto", "payload_signing_enabled": False},
        # Servers other than Amazon's know only some of the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=2,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 2},
        max_pool_connections=64,
    )


def _bucket(url: str, environ: Mapping[str, str]) -> Bucket:
    try:
        address = urlsplit(url)
        options = dict(parse_qsl(address.query, strict_parsing=True)) if address.query else {}
    except ValueError as error:
        raise SettingsInvalid(reason="The S3 address cannot be read as a URL.") from error
    if unknown := options.keys() - OPTIONS:
        known = ", ".join(sorted(OPTIONS))
        raise SettingsInvalid(reason=f"The S3 address has the unknown option {min(unknown)}; known are {known}.")
    if not address.hostname:
        raise SettingsInvalid(reason="The S3 address names no bucket: s3://bucket/prefix?endpoint=...&region=...")
    if not options.get("endpoint", "https://").startswith(("http://", "https://", "env:")):
        raise SettingsInvalid(reason="The endpoint of the S3 address begins with http:// or https://.")
    filled = {name: _filled(value, environ) for name, value in options.items()}
    if address.username and address.password:
        filled = {"access_key": unquote(address.username), "secret_key": unquote(address.password), **filled}
    return Bucket(name=address.hostname, prefix=address.path.strip("/"), **filled)


def _filled(value: str, environ: Mapping[str, str]) -> str:
    if not value.startswith("env:"):
        return value
    name = value.removeprefix("env:")
    if name not in environ:
        raise SettingsInvalid(reason=f"The S3 address needs the environment variable {name}, which is not set.")
    return environ[name]
