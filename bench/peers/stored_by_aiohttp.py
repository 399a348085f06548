"""Bare aiohttp that stores what is PUT: `stored_by_aiohttp.py FOLDER PORT`."""

from __future__ import annotations

import sys
from pathlib import Path

from aiohttp import web

FOLDER = Path(sys.argv[1])


async def put(request: web.Request) -> web.Response:
    path = FOLDER / request.match_info["name"]
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        async for chunk in request.content.iter_chunked(262_144):
            file.write(chunk)
    draft.rename(path)
    return web.Response(status=201)


def main() -> None:
    app = web.Application(client_max_size=2**34)
    app.router.add_put("/{name}", put)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=None, print=None)


if __name__ == "__main__":
    main()
