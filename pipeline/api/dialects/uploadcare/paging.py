"""Lists by keyset: a page begins at a time, and where several share one, behind a certain one of them.

`from` in the address of a next page is the time of its first entry, as the vendor has it; where that is the time of the
last entry before it too, the id of that one follows behind `~`. Clients carry it as they got it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.api.dialects.uploadcare.rest import Ask
from pipeline.api.dialects.uploadcare.rest_errors import complaint
from pipeline.errors import RequestInvalid
from pipeline.vendors.uploadcare import moment

PAGE = 100
LONGEST = 1000


@dataclass(frozen=True)
class Wish:
    """Which page is asked for: from a time on, or behind the entry `after` of that time."""

    limit: int
    down: bool
    since: datetime | None = None
    after: str | None = None


def wish_of(ask: Ask, field: str, default: str) -> Wish:
    """The page that a query asks for, ordered by `field`; complains about what it cannot be."""
    ordering = ask.query("ordering") or default
    if ordering.lstrip("-") != field:
        raise complaint("ordering", f'"{ordering[:64]}" is not a valid choice.')
    text, _, after = ask.query("from").partition("~")
    return Wish(_limit(ask), ordering.startswith("-"), time_of(text), after or None)


def _limit(ask: Ask) -> int:
    text = ask.query("limit") or str(PAGE)
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        raise complaint("limit", "A valid integer is required.")
    return min(int(text), LONGEST)


def time_of(text: str) -> datetime | None:
    """A time as clients write it: with or without a zone, and a `+` that came as a blank.

    None for no text at all; raises `RequestInvalid`.
    """
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError as cause:
        raise RequestInvalid(reason="`from` is not a valid ISO 8601 time.") from cause
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def next_place(last: tuple[datetime, str], first: tuple[datetime, str]) -> str:
    """The `from` of a page that begins with `first`, behind one that ends with `last`."""
    if last[0] == first[0]:
        return f"{moment(last[0])}~{last[1]}"
    return moment(first[0]) or ""


def page(ask: Ask, wish: Wish, results: Sequence[Any], total: int, place: str | None) -> dict[str, Any]:
    """The document of a page; `place` is where the next one begins, None for the last."""
    url = ask.call.request.rel_url
    query = {name: value for name, value in url.query.items() if name not in ("from", "offset")}
    following = url.with_query({**query, "from": place, "offset": "0"}) if place else None
    return {
        "next": ask.call.base_url + str(following) if following else None,
        "previous": None,
        "total": total,
        "per_page": wish.limit,
        "results": results,
    }
