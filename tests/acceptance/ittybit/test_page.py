"""The documented way of simple uploads: an address from a server, and a page that posts a form with a Content-Type
set by hand, which browsers send without a boundary."""

from __future__ import annotations

import base64
import time

import httpx
from playwright.async_api import Browser

from tests.acceptance.browsing import open_origin
from tests.acceptance.conftest import Stack
from tests.acceptance.ittybit.conftest import KEY
from tests.nodes.studio import PHOTO

UPLOAD = """
function uploadFile(file, upload_url) {
  return new Promise((done) => {
    const xhr = new XMLHttpRequest();
    xhr.open('POST', upload_url);
    xhr.setRequestHeader('Content-Type', 'multipart/form-data');
    xhr.onreadystatechange = function () {
      if (xhr.readyState === 4) {
        if (xhr.status === 200) {
          const { data: media } = JSON.parse(xhr.responseText);
          done({ media });
        } else {
          done({ status: xhr.status, text: xhr.responseText });
        }
      }
    };
    const formData = new FormData();
    formData.append('file', file);
    xhr.send(formData);
  });
}
window.send = (text, url) => {
  const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  return uploadFile(new File([bytes], 'photo.jpg', { type: 'image/jpeg' }), url);
};
"""
PAGE = {"/": (f"<!doctype html><script>{UPLOAD}</script>", "text/html")}


async def test_a_page_uploads_once_and_the_workflow_runs(server: Stack, chromium: Browser) -> None:
    async with httpx.AsyncClient(base_url=f"{server.address}/ittybit") as api, open_origin(chromium, PAGE) as page:
        asked = {"workflow_id": "wf_12345678", "metadata": {"user_id": "12345678", "purpose": "avatar"}}
        # Its third example sends the key without `Bearer`.
        told = (await api.post("/uploads", headers={"Authorization": KEY}, json=asked)).json()
        assert told["error"] is None
        url = told["data"]["url"]
        sent: list[str | None] = []
        page.on("request", lambda request: sent.append(request.headers.get("content-type")))
        text = base64.b64encode(PHOTO.read_bytes()).decode()
        done = await page.evaluate("([text, url]) => send(text, url)", [text, url])
        assert "multipart/form-data" in sent
        media = done["media"]
        assert (media["kind"], media["metadata"], media["filename"]) == ("image", asked["metadata"], "photo.jpg")
        again = await page.evaluate("([text, url]) => send(text, url)", [text, url])
        assert again["status"] == 410 and "already been used" in again["text"]
        key, deadline = {"Authorization": f"Bearer {KEY}"}, time.monotonic() + 40
        while len((shown := (await api.get(f"/media/{media['id']}", headers=key)).json())["files"]) < 3:
            assert time.monotonic() < deadline
        assert set(shown["urls"]) == {"original", "thumb", "wide"}
        assert (await api.get(shown["urls"]["thumb"])).headers["Content-Type"] == "image/webp"
        first = next(file for file in shown["files"] if file["original"])
        assert (await api.get(first["url"])).content == PHOTO.read_bytes()
