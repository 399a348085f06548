"""The snippets of docs/frameworks.md, as they stand there, in a real browser: what a page is given is stored."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import aiohttp
import pytest
from PIL import Image
from playwright.async_api import Browser, FilePayload, Page, Route, expect

from tests.acceptance.browsing import CLIENTS, packages
from tests.acceptance.conftest import Stack, configured_stack

HOME = CLIENTS / "frameworks"
DOCS = Path("docs")
SNIPPETS = sorted(path for path in HOME.glob("*/*") if path.suffix in (".jsx", ".vue"))
ORIGIN = "http://localhost:3000"
PAGE = "<!doctype html><meta charset=utf-8><title>Upload</title><main></main><script src=/page.js></script>"
BUTTONS = {"Uppy": "[data-uppy-element=dropzone] [tabindex='0']", "ImageKit": "input", "Uploadcare": "uc-drop-area"}
CONFIG = f"""
projects:
  demo:
    public_key: demopublickey
    secret_key: demosecretkey
    api_keys: [uk_live_frameworktests]
    cors_origins: ["{ORIGIN}"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with configured_stack(tmp_path_factory.mktemp("frameworks"), CONFIG) as stack:
        yield stack


@cache
def script(framework: str) -> str:
    """The page that can show every snippet for this framework, with the packages it needs."""
    folder = HOME / framework
    environ = os.environ | {"NODE_PATH": str(packages(folder) / "node_modules")}
    command = ("node", str(HOME / "bundle.cjs"), str(folder / "page.js"))
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environ).stdout


def picture(colour: int) -> bytes:
    kept = io.BytesIO()
    Image.new("RGB", (64, 48), (colour, 20, 90)).save(kept, "JPEG")
    return kept.getvalue()


async def opened(browser: Browser, framework: str) -> Page:
    """A page of the origin that the project names."""
    text = await asyncio.to_thread(script, framework)

    async def answer(route: Route) -> None:
        is_script = route.request.url.endswith("/page.js")
        await route.fulfill(
            body=text if is_script else PAGE, content_type="text/javascript" if is_script else "text/html"
        )

    page = await browser.new_page()
    page.set_default_timeout(15_000)
    await page.route(f"{ORIGIN}/**", answer)
    await page.goto(f"{ORIGIN}/")
    return page


async def stored(server: Stack, name: str) -> list[bytes]:
    """The bytes of every file of this name."""
    headers = {"Authorization": f"Bearer {server.key}"}
    async with aiohttp.ClientSession(server.address, headers=headers) as session:
        async with session.get("/v1/files") as answer:
            files = (await answer.json())["items"]
        kept = []
        for file in files:
            if file["name"] == name:
                async with session.get(file["url"]) as bytes_of:
                    kept.append(await bytes_of.read())
        return kept


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_what_a_page_is_given_is_stored(server: Stack, chromium: Browser, snippet: Path) -> None:
    framework, client = snippet.parent.name, snippet.stem
    name, content = f"{framework}-{client}.jpg", picture(SNIPPETS.index(snippet) * 20)
    page = await opened(chromium, framework)
    given = {"name": client, "server": server.address, "project": "demo", "publicKey": "demopublickey"}
    await page.evaluate("given => { window.show(given) }", given)
    async with page.expect_file_chooser() as chooser:
        await page.locator(BUTTONS[client]).first.click()
    await (await chooser.value).set_files(FilePayload(name=name, mimeType="image/jpeg", buffer=content))
    await expect(page.locator("main > ul > li")).to_have_text(name)
    assert await stored(server, name) == [content]
    if client == "ImageKit":  # its component shows the file from here
        await page.wait_for_function("document.querySelector('main li img').naturalWidth > 0")
    await page.close()


def test_the_docs_show_these_very_files() -> None:
    shown = re.findall(r"`(\w+/\w+\.\w+)`:?\n\n```\w+\n(.*?)```", (DOCS / "frameworks.md").read_text(), re.DOTALL)
    assert dict(shown) == {f"{path.parent.name}/{path.name}": path.read_text() for path in SNIPPETS}


def test_the_docs_name_the_releases_that_are_tried() -> None:
    text = (DOCS / "frameworks.md").read_text()
    for framework in ("react", "vue"):
        listed = re.findall(r'"(@[\w/-]+)": "([\d.]+)"', (HOME / framework / "package.json").read_text())
        assert [name for name, release in listed if f"{name}@{release}" not in text] == []
