"""A page with real upload clients from npm, in a real headless Chromium."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path

from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright

CLIENTS = Path(__file__).with_name("clients")
CACHE = Path(__file__).parents[2] / ".clients"
CHROMIUM = "/usr/bin/chromium"
PAGE = (
    "<!doctype html><meta charset=utf-8><title>{name}</title><input type=file multiple><script src={name}.js></script>"
)
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-features=LocalNetworkAccessChecks")


@cache
def bundle(name: str) -> str:
    """What `clients/<name>.js` becomes with all that it imports; npm is asked once for each list of packages.

    A folder of that name has packages of its own, of which others are too new or too old.
    """
    home = CLIENTS / name if (CLIENTS / name).is_dir() else CLIENTS
    cache = packages(home)
    with _alone(cache):
        source = cache / f"{name}.js"
        shutil.copyfile(home / f"{name}.js", source)  # beside its packages, where esbuild looks for them
        esbuild = cache / "node_modules" / ".bin" / "esbuild"
        command = (str(esbuild), str(source), "--bundle", "--format=iife", "--log-level=error")
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def packages(home: Path) -> Path:
    """A folder whose `node_modules` has all that the package.json of a folder of `clients` lists."""
    cache = CACHE / home.relative_to(CLIENTS)
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache):
        _install(home / "package.json", cache)
    return cache


def program(name: str) -> Path:
    """`clients/<name>/node.mjs` beside the packages that it imports."""
    return shutil.copyfile(CLIENTS / name / "node.mjs", packages(CLIENTS / name) / "node.mjs")


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Other processes test beside this one."""
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(wanted: Path, cache: Path) -> None:
    """Have the packages of this list in the cache, all of them or as before."""
    installed = cache / "package.json"
    if installed.exists() and installed.read_text() == wanted.read_text():
        return
    draft = cache / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    shutil.copyfile(wanted, draft / "package.json")
    _run("npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(draft))
    shutil.rmtree(cache / "node_modules", ignore_errors=True)
    (draft / "node_modules").rename(cache / "node_modules")
    (draft / "package.json").rename(installed)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def missing() -> str | None:
    """What is not on this machine and `.ci/run` installs, None when pages can be tried."""
    wanted = {"npm": shutil.which("npm"), "chromium": Path(CHROMIUM).exists()}
    return next((f"no {name} here: apt install {name}" for name, there in wanted.items() if not there), None)


@asynccontextmanager
async def running_chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@asynccontextmanager
async def open_page(browser: Browser, name: str) -> AsyncIterator[Page]:
    """A page that has run the bundle `name`."""
    texts = {"/": (PAGE.format(name=name), "text/html"), f"/{name}.js": (bundle(name), "text/javascript")}
    async with open_origin(browser, texts) as page:
        yield page


@asynccontextmanager
async def open_origin(browser: Browser, texts: Mapping[str, tuple[str, str]]) -> AsyncIterator[Page]:
    """A page of an origin of its own, nothing stored yet, that has these texts and their types by path."""
    app = web.Application()

    async def answer(request: web.Request) -> web.Response:
        text, kind = texts.get(request.path, ("", "text/plain"))
        return web.Response(text=text, content_type=kind)

    app.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    context = await browser.new_context()
    try:
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{site.port}/")
        yield page
    finally:
        await context.close()
        await runner.cleanup()
