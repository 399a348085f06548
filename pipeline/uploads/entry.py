"""What the project, the route and the request together ask of a file: the strictest of each rule."""

from __future__ import annotations

from pipeline import names
from pipeline.arrival import Rules
from pipeline.errors import (
    ImageSizeUnknown,
    ImageTooHigh,
    ImageTooLow,
    ImageTooNarrow,
    ImageTooSmall,
    ImageTooWide,
    RouteUnknown,
)
from pipeline.model import Grant, ImageFacts, Intake, PictureLimits, Route
from pipeline.settings import Settings

ANYWHERE = Route()
"""The route of what names none."""


def route_of(grant: Grant, intake: Intake) -> Route:
    """The route that a request names, or one that asks for nothing; raises `RouteUnknown`."""
    if intake.route is None:
        return ANYWHERE
    if (route := grant.project.routes.get(intake.route)) is None:
        raise RouteUnknown(name=intake.route[:64])
    return route


def rules_of(settings: Settings, grant: Grant, intake: Intake) -> Rules:
    """What the bytes must keep to; raises `RouteUnknown`."""
    project, route = grant.project, route_of(grant, intake)
    most = project.limits.max_file_size
    return Rules(
        name=names.native(intake.name),
        limit=_smallest(most, route.max_size, intake.max_size) or most,
        declared_size=intake.declared_size,
        declared_type=intake.declared_type,
        allowed=(project.allowed_types, route.types, intake.types),
        may_be_empty=intake.may_be_empty,
        least=_largest(project.limits.min_file_size, route.min_size, intake.min_size) or 0,
        scan_limit=settings.scanner_limit if project.scan else None,
        takes_svg=project.svg != "refuse",
    )


def picture_limits(grant: Grant, intake: Intake) -> PictureLimits:
    """How large a picture may be; raises `RouteUnknown`."""
    route = route_of(grant, intake)
    return PictureLimits(
        min_width=_largest(route.min_width, intake.min_width),
        max_width=_smallest(route.max_width, intake.max_width),
        min_height=_largest(route.min_height, intake.min_height),
        max_height=_smallest(route.max_height, intake.max_height),
        min_pixels=_largest(route.min_pixels, intake.min_pixels),
        max_pixels=_smallest(route.max_pixels, intake.max_pixels),
    )


def check_picture(limits: PictureLimits, image: ImageFacts | None, media_type: str) -> None:
    """Return for a file that is no picture, and for a picture within these limits; `max_pixels` bounds its reading.

    Raises `ImageSizeUnknown`, `ImageTooNarrow`, `ImageTooWide`, `ImageTooLow`, `ImageTooHigh` or `ImageTooSmall`.
    """
    if image is None:
        if media_type.startswith("image/") and limits != PictureLimits():
            raise ImageSizeUnknown
        return
    width, height = image.width, image.height
    if limits.min_width is not None and width < limits.min_width:
        raise ImageTooNarrow(found=width, least=limits.min_width)
    if limits.max_width is not None and width > limits.max_width:
        raise ImageTooWide(found=width, limit=limits.max_width)
    if limits.min_height is not None and height < limits.min_height:
        raise ImageTooLow(found=height, least=limits.min_height)
    if limits.max_height is not None and height > limits.max_height:
        raise ImageTooHigh(found=height, limit=limits.max_height)
    if limits.min_pixels is not None and width * height < limits.min_pixels:
        raise ImageTooSmall(found=width * height, least=limits.min_pixels)


def _smallest(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _largest(*limits: int | None) -> int | None:
    return max((limit for limit in limits if limit is not None), default=None)
