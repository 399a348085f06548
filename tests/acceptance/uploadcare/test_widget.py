"""@uploadcare/file-uploader on the demo page, in a real browser: nothing it needs comes from elsewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, Page, expect

from tests.acceptance.conftest import Stack
from tests.acceptance.uploadcare.clients import Node
from tests.nodes.studio import PHOTO

DEMO = PHOTO.parent

DROP = """(files) => {
  const area = [...document.querySelectorAll('uc-drop-area')].find((one) => one.getBoundingClientRect().width > 0)
  const { left, top, width, height } = area.getBoundingClientRect()
  const dataTransfer = new DataTransfer()
  for (const [name, text] of files) {
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0))
    dataTransfer.items.add(new File([bytes], name, { type: name.endsWith('.jpg') ? 'image/jpeg' : 'application/pdf' }))
  }
  const place = { clientX: left + width / 2, clientY: top + height / 2, bubbles: true, cancelable: true }
  for (const kind of ['dragenter', 'dragover', 'drop'])
    area.dispatchEvent(new DragEvent(kind, { dataTransfer, ...place }))
}"""
ENTRIES = """DataTransferItem.prototype.webkitGetAsEntry = function () {
  const file = this.getAsFile()
  return file && { isFile: true, isDirectory: false, fullPath: '/' + file.name, file: (take) => take(file) }
}"""
"""What a drop lacks that no hand has made: its files have no entries of a file system."""


WATCHED = """() => {
  const uploads = document.querySelector('uc-upload-ctx-provider')
  window.seen = []
  uploads.addEventListener('common-upload-progress', ({ detail }) => seen.push(detail.progress))
  const text = () => document.querySelector('#told').textContent
  window.grouped = new Promise((heard) => uploads.addEventListener('group-created', () => heard(text())))
}"""
"""What the page tells of the group may soon give way to what it tells of the files."""

TURNED = """() => { window.turned = new Promise((heard) => document.querySelector('uc-cloud-image-editor')
  .addEventListener('change', ({ detail }) => heard(detail.cdnUrlModifiers))) }"""
"""The editor tells of an operation a moment after it was asked for, and applies no other."""


async def drop(page: Page, *files: Path) -> None:
    """Drop files on the middle of the area for it."""
    await page.evaluate(DROP, [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files])


@pytest.fixture
async def page(server: Stack, node: Node, chromium: Browser) -> AsyncIterator[Page]:
    page = await chromium.new_page()
    page.set_default_timeout(20_000)
    await page.add_init_script(ENTRIES)
    await page.goto(f"{server.address}/demo")
    yield page
    await page.close()


async def test_files_are_dropped_edited_and_grouped(server: Stack, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.evaluate(WATCHED)
    await page.get_by_role("button", name="Upload files").click()
    await page.locator("uc-drop-area").locator("visible=true").last.wait_for()
    await drop(page, PHOTO, DEMO / "page.pdf")
    await expect(page.locator("uc-file-item")).to_have_count(2)
    group = json.loads(await page.evaluate("window.grouped"))
    assert (group["files"], group["group"].endswith("~2")) == (2, True)
    assert await page.evaluate("seen.at(-1)") == 100
    address = f"{server.address}/group/info/?pub_key=demopublickey&group_id={group['group']}"
    async with aiohttp.ClientSession() as session, session.get(address) as found:
        members = (await found.json())["files"]
    assert {file["original_filename"] for file in members} == {PHOTO.name, "page.pdf"}
    # The editor draws the very picture that was sent, and what it makes of it is made by the server.
    async with page.expect_response(lambda answer: "/-/resize/" in answer.url) as shown:
        await page.get_by_role("button", name="Edit").first.click()
    assert (await (await shown.value).header_value("Content-Type")).startswith("image/")
    await page.locator("uc-cloud-image-editor .uc-image_hidden_to_cropper").wait_for(state="attached")
    await page.evaluate(TURNED)
    await page.get_by_role("option", name="Apply rotate operation").click()
    assert "rotate" in await page.evaluate("window.turned")
    async with page.expect_response(lambda answer: "/-/rotate/" in answer.url) as turned:
        await page.get_by_role("button", name="Apply", exact=True).click()
    assert (await turned.value).status == 200
    assert [url for url in asked if not url.startswith((server.address, "blob:", "data:"))] == []
