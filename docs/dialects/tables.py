"""Tables that every dialect's page has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipeline.api.endpoint import Endpoint


def routes(endpoints: Sequence[Endpoint], titles: Mapping[str, str]) -> Iterator[str]:
    """Sections of addresses, one for each tag; the last word of the tag has the title."""
    tags: dict[str, list[str]] = {}
    for endpoint in endpoints:
        row = f"| `{endpoint.method}` | `{endpoint.plain_path}` | {endpoint.summary} |"
        tags.setdefault(endpoint.tag, []).append(row)
    for tag, rows in tags.items():
        yield from (f"## {titles[tag.split()[-1]]}", "", "| method | path | |", "| --- | --- | --- |", *rows, "")
