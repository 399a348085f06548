"""`/v1/files`, `/v1/folders`, `/v1/usage`: which files there are, and what they take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import AfterValidator, BeforeValidator, Field

from pipeline import labels
from pipeline.api.dialects.native.files import file_shapes
from pipeline.api.dialects.native.shapes import LABEL_LENGTH, Ask, FileShape, Listing, Paging, Shape
from pipeline.api.endpoint import Call, Endpoint, answer
from pipeline.errors import CursorInvalid, FolderInvalid, MetadataInvalid, TagInvalid
from pipeline.model import FileQuery, FileSort
from pipeline.records.finding import Order
from pipeline.units import Bytes

Sort = Literal["created", "-created", "name", "-name", "size", "-size"]
LARGEST = 2**53


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _plain(given: Any) -> Any:
    return int(given) if isinstance(given, str) and given.isascii() and given.isdigit() else given


Size = Annotated[Bytes, Field(ge=0, le=LARGEST), BeforeValidator(_plain)]
Moment = Annotated[datetime, AfterValidator(_aware)]
Text = Annotated[str, Field(min_length=1, max_length=LABEL_LENGTH)]


class Filters(Ask):
    """Which files: those that fulfil all of it."""

    tag: tuple[Text, ...] = Field(default=(), max_length=20, description="Has every one of them.")
    any_tag: tuple[Text, ...] = Field(default=(), max_length=20, description="Has one of them.")
    folder: str | None = Field(default=None, max_length=LABEL_LENGTH, description="Is in this folder; `/` is the root.")
    below: str | None = Field(default=None, max_length=LABEL_LENGTH, description="Is in this folder or one in it.")
    type: tuple[Text, ...] = Field(default=(), max_length=20, description="Is one of them; `image/*` is any picture.")
    name: Text | None = Field(default=None, description="Is named so, without regard to case.")
    prefix: Text | None = Field(default=None, description="How its name begins.")
    search: Text | None = Field(default=None, description="What its name has in it.")
    min_size: Size | None = Field(default=None, description="Bytes.")
    max_size: Size | None = Field(default=None, description="Bytes.")
    since: Moment | None = Field(default=None, description="Was created then or later.")
    before: Moment | None = Field(default=None, description="Was created earlier.")
    stored: bool | None = None
    private: bool | None = None
    made: bool | None = Field(default=None, description="Was made by a run.")
    metadata: tuple[Text, ...] = Field(default=(), max_length=20, description="`key=value`, all of them.")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    def query(self) -> FileQuery:
        """The same in the words of the core; raises `TagInvalid`, `FolderInvalid` or `MetadataInvalid`."""
        plain = self.model_dump(
            include={
                "name",
                "prefix",
                "min_size",
                "max_size",
                "since",
                "before",
                "stored",
                "private",
                "made",
                "sha256",
            }
        )
        return FileQuery(
            **plain,
            part=self.search,
            tags=labels.tags(self.tag),
            any_tags=labels.tags(self.any_tag),
            folder=None if self.folder is None else labels.folder(self.folder),
            below=None if self.below is None else labels.folder(self.below),
            types=tuple(kind.lower() for kind in self.type),
            metadata=labels.metadata(dict(_pair(pair) for pair in self.metadata)),
        )


class FindQuery(Filters, Paging):
    sort: Sort = Field(default="-created", description="With `-` the largest or newest first.")


class FoldersQuery(Paging):
    folder: str = Field(default="/", max_length=LABEL_LENGTH, description="Whose folders.")


class FileCountShape(Shape):
    """How many files there are."""

    count: int
    exact: bool = Field(description="False when there may be more: then the count is what was seen within limits.")


class SumShape(Shape):
    """How many files, and their bytes."""

    files: int
    bytes: int


class UsageShape(SumShape):
    """What the project has in its storages."""

    max_files: int | None = Field(description="Its limit; null is none.")
    max_storage: int | None = Field(description="Its limit in bytes; null is none.")
    doubles: SumShape = Field(description="Files of whose bytes there is another one: what could be saved.")
    storages: dict[str, SumShape]


class DoubleShape(Shape):
    """Files of the same bytes."""

    sha256: str
    size: int = Field(description="Of each, bytes.")
    count: int
    wasted: int = Field(description="Bytes that would be saved if there were only one.")
    files: tuple[str, ...] = Field(description="Ids, twenty at most.")


class FolderShape(Shape):
    """A folder that has files in it, or in the folders in it."""

    folder: str
    files: int


async def listed(call: Call) -> web.Response:
    query = call.query(FindQuery)
    by: FileSort = query.sort.lstrip("-")  # type: ignore[assignment]
    order = Order(by, query.sort.startswith("-"))
    page = await call.core.records.files.find(call.project, query.query(), query.cursor, query.limit, order)
    return answer(Listing[FileShape](items=file_shapes(call, page.items), next=page.next))


async def counted(call: Call) -> web.Response:
    count, exact = await call.core.records.files.count(call.project, call.query(Filters).query())
    return answer(FileCountShape(count=count, exact=exact))


async def doubles(call: Call) -> web.Response:
    query = call.query(Paging)
    page = await call.core.records.files.doubles(call.project, query.cursor, query.limit)
    rows = [DoubleShape(**one.model_dump(), wasted=one.size * (one.count - 1)) for one in page.items]
    return answer(Listing[DoubleShape](items=tuple(rows), next=page.next))


async def folders(call: Call) -> web.Response:
    query = call.query(FoldersQuery)
    root = labels.folder(query.folder)
    page = await call.core.records.files.folders(call.project, root, query.cursor, query.limit)
    rows = [FolderShape(folder=f"/{path}", files=files) for path, files in page.items]
    return answer(Listing[FolderShape](items=tuple(rows), next=page.next))


async def usage(call: Call) -> web.Response:
    used, limits = await call.core.records.usage.get(call.project), call.grant.project.limits
    return answer(UsageShape(**used.model_dump(), max_files=limits.max_files, max_storage=limits.max_storage))


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


FILTERED = (CursorInvalid, FolderInvalid, MetadataInvalid, TagInvalid)

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "GET",
        "/v1/files",
        "List and search the project's files.",
        act=listed,
        tag="files",
        query=FindQuery,
        answers={200: Listing[FileShape]},
        errors=FILTERED,
    ),
    Endpoint(
        "GET",
        "/v1/files/count",
        "Count the files that a search would find.",
        act=counted,
        tag="files",
        query=Filters,
        answers={200: FileCountShape},
        errors=FILTERED[1:],
    ),
    Endpoint(
        "GET",
        "/v1/files/doubles",
        "List files whose bytes are the same.",
        act=doubles,
        tag="files",
        query=Paging,
        answers={200: Listing[DoubleShape]},
        errors=(CursorInvalid,),
    ),
    Endpoint(
        "GET",
        "/v1/folders",
        "List the folders in a folder.",
        act=folders,
        tag="files",
        query=FoldersQuery,
        answers={200: Listing[FolderShape]},
        errors=(CursorInvalid, FolderInvalid),
    ),
    Endpoint(
        "GET",
        "/v1/usage",
        "See how many files and bytes the project has, and its limits.",
        act=usage,
        tag="files",
        answers={200: UsageShape},
    ),
)
