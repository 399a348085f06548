"""`/v1/accounts`: what is known here of an account, a project of the settings; and what cannot be had, told clearly."""

from __future__ import annotations

from datetime import date

from aiohttp import web

from pipeline.api.dialects.imagekit.errors import invalid, missing, refused
from pipeline.api.dialects.imagekit.manage.ask import Ask, told
from pipeline.vendors.imagekit import Document

LONGEST = 90
"""Days between the two dates of a question about usage."""
NO_ORIGINS = (
    "External storages are not connected over the API: the files of this server lie in the storages of its settings."
)
NO_ENDPOINTS = (
    "URL-endpoints are not made over the API: every project has its own default one, and the settings bind host names."
)
NO_ANALYTICS = "Analytics of delivery are not kept by project; the metrics of this server have them for all together."
NO_ORIGIN = "The requested origin does not exist."
NO_ENDPOINT = "The requested URL-endpoint does not exist."

DEFAULT_ENDPOINT: Document = {
    "id": "default",
    "description": "The default URL-endpoint",
    "origins": [],
    "urlPrefix": "",
}


# Where files come from


async def origins(ask: Ask) -> web.Response:
    """None: whatever is delivered here was sent here."""
    return told([])


async def no_origin(ask: Ask) -> web.Response:
    raise refused(NO_ORIGIN, 404)


async def no_new_origin(ask: Ask) -> web.Response:
    raise refused(NO_ORIGINS)


# Where they are delivered


async def endpoints(ask: Ask) -> web.Response:
    return told([DEFAULT_ENDPOINT])


async def endpoint(ask: Ask) -> web.Response:
    if ask.call.place("id") != DEFAULT_ENDPOINT["id"]:
        raise refused(NO_ENDPOINT, 404)
    return told(DEFAULT_ENDPOINT)


async def no_change(ask: Ask) -> web.Response:
    if ask.call.place("id") != DEFAULT_ENDPOINT["id"]:
        raise refused(NO_ENDPOINT, 404)
    raise refused(NO_ENDPOINTS)


async def no_new_endpoint(ask: Ask) -> web.Response:
    raise refused(NO_ENDPOINTS)


# What is used


async def usage(ask: Ask) -> web.Response:
    """What the project has in its storages, now, whatever the dates; of its traffic nothing is known."""
    _check_dates(ask)
    return told({"mediaLibraryStorageBytes": (await ask.records.usage.get(ask.project)).bytes})


async def analytics(ask: Ask) -> web.Response:
    _check_dates(ask)
    raise refused(NO_ANALYTICS)


def _check_dates(ask: Ask) -> None:
    start, end = _date(ask, "startDate"), _date(ask, "endDate")
    if start > end:
        raise invalid("endDate", "It should be after startDate.")
    if (end - start).days >= LONGEST:
        raise invalid("endDate", f"The difference between startDate and endDate should be less than {LONGEST} days.")


def _date(ask: Ask, name: str) -> date:
    text = ask.query(name)
    if not text:
        raise missing(name)
    try:
        return date.fromisoformat(text[:10])
    except ValueError as cause:
        raise invalid(name, "It should be a date in the format YYYY-MM-DD.") from cause
