"""One question to a server and its answer, for the commands that need no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.console import run_async
from pipeline.cli.target import target

if TYPE_CHECKING:
    from pipeline.cli.client import Client

Question = Callable[["Client"], Awaitable[Any]]


def ask(url: str | None, key: str | None, data: Path | None, question: Question) -> Any:
    """What `question` gets from the server that the options mean; raises `Refusal`."""
    return run_async(_asked(url, key, data, question))


async def _asked(url: str | None, key: str | None, data: Path | None, question: Question) -> Any:
    from pipeline.cli.client import open_client

    async with open_client(target(url, key, data)) as client:
        return await question(client)
