"""`/demo`: Uploadcare's File Uploader on a page of this server, with the widget's files as npm installed them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from string import Template

from aiohttp import web

from pipeline.api.endpoint import Call, Endpoint
from pipeline.describe import BINARY, Raw
from pipeline.errors import RouteNotFound

PACKAGE = Path(__file__).resolve().parent.parent
PAGES = (PACKAGE / "api" / "uploader.html", PACKAGE.parent / "docs" / "demo" / "uploader" / "index.html")
"""Inside an installed package, and in a checkout."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
)
TYPES = {".js": "text/javascript", ".css": "text/css"}
INSTALLED = Path("node_modules/@uploadcare/file-uploader/web")
"""Where npm puts the widget's files, under the folder it is told."""
FILE = re.compile(r"[\w-]+(\.[\w-]+)*\.(js|css)", re.ASCII)


async def page(call: Call) -> web.Response:
    folder = _folder(call)
    projects = call.core.settings.projects.values()
    key = next((project.public_key for project in projects if project.public_key), None)
    home = str(folder).removesuffix(f"/{INSTALLED}")
    text = Template(_text()).substitute(pubkey=key or "", folder=home)
    return web.Response(text=text, content_type="text/html", headers={"Content-Security-Policy": POLICY})


async def widget(call: Call) -> web.StreamResponse:
    name = call.place("file")
    path = _folder(call) / name
    if not FILE.fullmatch(name) or not path.is_file():
        raise RouteNotFound
    return web.FileResponse(path, headers={"Content-Type": TYPES[path.suffix], "Cache-Control": "no-cache"})


def _folder(call: Call) -> Path:
    folder = call.core.settings.demo_widget
    if folder is None:
        raise RouteNotFound
    return folder


@cache
def _text() -> str:
    return next(page for page in PAGES if page.is_file()).read_text(encoding="utf-8")


ENDPOINTS: Sequence[Endpoint] = (
    Endpoint(
        "GET",
        "/demo",
        "A page with an upload widget.",
        act=page,
        tag="docs",
        public=True,
        answers={200: Raw("text/html", {"type": "string"})},
    ),
    Endpoint(
        "GET",
        "/demo/widget/{file}",
        "The widget's files.",
        act=widget,
        tag="docs",
        public=True,
        answers={200: Raw("*/*", BINARY)},
    ),
)
