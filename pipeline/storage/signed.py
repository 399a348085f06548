"""Small bodies put into a bucket by requests that are signed and sent as they are.

The S3 client spends several times as much on building one. It is asked all the same for whatever does not go well
here: it tries again, follows redirects and knows what an error means.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

UNSIGNED = "UNSIGNED-PAYLOAD"
"""What takes the place of a digest of the body, as in the client's own requests."""
CONNECT_SECONDS, ANSWER_SECONDS = 2, 30
AT_ONCE = 64
REST_SECONDS = 60.0
"""For so long the client is asked for everything, once something did not go well."""


class SignedPuts:
    """Puts bodies below `address`, that of a bucket with a slash at its end, with the keys of `credentials`."""

    def __init__(self, address: str, region: str, credentials: Any) -> None:
        parts = urlsplit(address)
        self._origin, self._host, self._path = f"{parts.scheme}://{parts.netloc}", parts.netloc, parts.path
        self._region = region
        self._credentials = credentials
        self._rests_until = 0.0
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_ONCE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
            trust_env=True,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def put(self, place: str, body: bytes, media_type: str) -> bool:
        """Whether the server has it now; if it is not sure, the client is to be asked to put it."""
        if time.monotonic() < self._rests_until:
            return False
        path = self._path + quote(place, safe="/-_.~")
        headers = await self._signed(path, media_type)
        try:
            url = URL(self._origin + path, encoded=True)
            async with self._session.put(url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                is_put = answer.status == 200
        except (aiohttp.ClientError, OSError):
            is_put = False
        if not is_put:
            self._rests_until = time.monotonic() + REST_SECONDS
        return is_put

    async def close(self) -> None:
        await self._session.close()

    async def _signed(self, path: str, media_type: str) -> Mapping[str, str]:
        """The headers of a PUT to `path` (AWS Signature Version 4, with the body left out)."""
        keys = await self._credentials.get_frozen_credentials()
        at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        told = {"content-type": media_type, "host": self._host, "x-amz-content-sha256": UNSIGNED, "x-amz-date": at}
        if keys.token:
            told["x-amz-security-token"] = keys.token
        lines, names = "".join(f"{name}:{value}\n" for name, value in told.items()), ";".join(told)
        request = sha256(f"PUT\n{path}\n\n{lines}\n{names}\n{UNSIGNED}".encode()).hexdigest()
        scope = f"{at[:8]}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{request}".encode()
        signature = hmac.digest(_key(keys.secret_key, at[:8], self._region), text, "sha256").hex()
        told["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return told


@lru_cache(16)
def _key(secret: str, day: str, region: str) -> bytes:
    """What requests of a day are signed with."""
    key = f"AWS4{secret}".encode()
    for word in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    return key
