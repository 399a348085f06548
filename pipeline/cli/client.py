"""The native API from the command line: one session, errors as refusals, uploads counted, events followed."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from pipeline.cli.console import EXITS, Exit, Refusal
from pipeline.cli.target import Target

BLOCK = 2**18
ENDED = ("completed", "failed", "cancelled")
RECONNECTS = 40
RECONNECT_PAUSE = 0.5
SILENCE = 60.0
"""Seconds without a byte, not even a comment, after which an event stream counts as lost."""

Count = Callable[[int], None]


@asynccontextmanager
async def open_client(target: Target) -> AsyncIterator[Client]:
    """A client of the server; raises `Refusal` with exit code 3 when it cannot be reached."""
    timeout = aiohttp.ClientTimeout(total=None, connect=10, sock_read=SILENCE)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Client(session, target)


@dataclass(frozen=True)
class Client:
    """Speaks to one server with one key."""

    session: aiohttp.ClientSession
    target: Target

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON at `path`; parameters that are None are left out, those of a list told again and again."""
        many = {name: value if isinstance(value, list) else [value] for name, value in query.items()}
        given = [(name, str(value)) for name, values in many.items() for value in values if value is not None]
        return await self._call("GET", path, params=given)

    async def post(self, path: str, document: Any = None) -> Any:
        return await self._call("POST", path, json=document)

    async def put_text(self, path: str, text: str, media_type: str, **query: Any) -> Any:
        given = {name: str(value) for name, value in query.items() if value is not None}
        headers = {"Content-Type": media_type}
        return await self._call("PUT", path, data=text.encode(), params=given, headers=headers)

    async def delete(self, path: str) -> Any:
        return await self._call("DELETE", path)

    async def pages(self, path: str, limit: int, **query: Any) -> dict[str, Any]:
        """Up to `limit` members of a list, over as many pages as that takes, in the list's own shape."""
        members: list[Any] = []
        cursor: str | None = None
        while True:
            page = await self.get(path, limit=min(limit - len(members), 100), cursor=cursor, **query)
            members += page["items"]
            cursor = page["next"]
            if cursor is None or len(members) >= limit:
                return {"items": members, "next": cursor}

    async def send(self, path: str, fields: Mapping[str, str], files: Sequence[tuple[str, Path]], count: Count) -> Any:
        """POST a form whose files are streamed from disk; `count` hears of every block that was read."""
        form = aiohttp.FormData(quote_fields=False)
        for name, value in fields.items():
            form.add_field(name, value, content_type="application/json")
        for name, file in files:
            form.add_field(name, CountedFile(file, count), filename=file.name, content_type="application/octet-stream")
        return await self._call("POST", path, data=form)

    async def fetch(self, url: str, destination: Path) -> None:
        """Save the bytes at an absolute address; the file appears whole or not at all."""
        draft = destination.with_name(f".{destination.name}.part")
        async with self._request("GET", url, {}) as answer:
            await _refuse(answer)
            with draft.open("wb") as file:
                async for block in answer.content.iter_chunked(BLOCK):
                    file.write(block)
        draft.replace(destination)

    async def follow(self, run_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a run from the first on until it has ended, also across a line that breaks."""
        last, lost = "0", 0
        while lost < RECONNECTS:
            try:
                async for event in self._events(f"/v1/runs/{run_id}/events", last):
                    last, lost = event["id"], 0
                    yield event
                if await self._ended(run_id):
                    return
            except (aiohttp.ClientError, TimeoutError):
                pass
            except Refusal as refusal:
                if refusal.code is not Exit.UNREACHABLE:
                    raise
            lost += 1
            await asyncio.sleep(RECONNECT_PAUSE)
        raise self._unreachable()

    async def _ended(self, run_id: str) -> bool:
        return (await self.get(f"/v1/runs/{run_id}"))["status"] in ENDED

    async def _events(self, path: str, last: str) -> AsyncIterator[dict[str, Any]]:
        headers = self._headers | {"Accept": "text/event-stream", "Last-Event-ID": last}
        async with self.session.get(self.target.address + path, headers=headers) as answer:
            await _refuse(answer)
            lines: list[str] = []
            async for raw in answer.content:
                line = raw.decode().rstrip("\r\n")
                if line.startswith("data:"):
                    lines.append(line[5:].strip())
                elif not line and lines:
                    yield json.loads("\n".join(lines))
                    lines = []

    async def _call(self, method: str, path: str, headers: Mapping[str, str] | None = None, **body: Any) -> Any:
        async with self._request(
            method, self.target.address + path, self._headers | dict(headers or {}), **body
        ) as answer:
            await _refuse(answer)
            text = await answer.text()
            return json.loads(text) if text else None

    @asynccontextmanager
    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], **body: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self.session.request(method, url, headers=headers, **body) as answer:
                yield answer
        except aiohttp.InvalidURL as cause:
            raise Refusal(f"`{self.target.address}` is not an address of a server.") from cause
        except (aiohttp.ClientError, TimeoutError) as cause:
            raise self._unreachable() from cause

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.target.key}"} if self.target.key else {}

    def _unreachable(self) -> Refusal:
        return Refusal(
            f"The server at {self.target.address} does not answer.",
            "start it with `safelight up`, or name another with --url.",
            Exit.UNREACHABLE,
        )


class CountedFile(io.BufferedReader):
    """A file on disk that tells how much of it has been read."""

    def __init__(self, path: Path, count: Count) -> None:
        super().__init__(io.FileIO(path))
        self._count = count

    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        self._count(len(block))
        return block


async def _refuse(answer: aiohttp.ClientResponse) -> None:
    """Turn an answer that is an error into the end of the command."""
    if answer.status < 400:
        return
    problem = await _problem(answer)
    code = EXITS.get(problem.get("code", ""), _exit_of(answer.status))
    lines = [problem.get("detail") or f"The server answered {answer.status} {answer.reason}."]
    lines += [_complaint(complaint) for complaint in problem.get("complaints") or ()]
    hint = "give an API key of the project with --key." if code is Exit.REFUSED else ""
    raise Refusal("\n".join(lines), hint, code, problem.get("code", ""))


async def _problem(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        problem = json.loads(await answer.text())
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _exit_of(status: int) -> Exit:
    if status in (401, 403):
        return Exit.REFUSED
    if status == 503:
        return Exit.UNREACHABLE
    return Exit.FAILED if status >= 500 else Exit.USAGE


def _complaint(complaint: Mapping[str, Any]) -> str:
    place = f"{complaint['file']}:{complaint['line']}:{complaint['column']}"
    return " ".join(part for part in (place, complaint["code"], complaint["message"], complaint.get("hint")) if part)
