"""Host names at whose root a dialect is spoken, for clients whose addresses have no room for a path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.http import RawRequestMessage
from yarl import URL

AT_ROOT = "uploadcare"
"""The dialect that is at the root of every name."""

Make = Callable[..., web.BaseRequest]


def bound(hosts: Mapping[str, str], make: Make) -> Make:
    """Makes requests as `make` does; those for one of the hosts are for what lies below its path here.

    `hosts` are names without a port, in small letters, and `imagekit` or a path like `imagekit/ik`.
    """
    places = {host: "" if place == AT_ROOT else f"/{place}" for host, place in hosts.items()}

    def made(message: RawRequestMessage, *more: Any) -> web.BaseRequest:
        place = places.get(_name(message.headers.get("Host", "")), "")
        return make(_moved(message, place) if _is_outside(message.path, place) else message, *more)

    return made


def _name(host: str) -> str:
    return host.rpartition(":")[0].lower() if host.rpartition(":")[2].isdigit() else host.lower()


def _is_outside(path: str, place: str) -> bool:
    """Whether a path is told from the root of the host; what names our own place is there already."""
    return bool(place) and path.startswith("/") and not f"{path}/".startswith(f"{place}/")


def _moved(message: RawRequestMessage, place: str) -> RawRequestMessage:
    rest = "" if message.path == "/" else message.path
    return message._replace(path=place + rest, url=URL(place + rest, encoded=True))
