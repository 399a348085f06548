"""The demo page: there where the widget's folder is set, and nothing of other folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from yarl import URL

from tests.api.conftest import serving
from tests.api.house import House

CONFIG = """
data_dir: "{data}"
flows_dir: "{data}/flows"
redis_url: "{redis}"
demo_widget: "{data}/demo/node_modules/@uploadcare/file-uploader/web"
projects: {{nameless: {{secret_key: a}}, demo: {{public_key: demopublic, secret_key: b}}}}
"""


async def test_a_page_that_asks_for_its_widget_and_then_shows_it(redis_url: str, tmp_path: Path) -> None:
    async with serving(CONFIG, redis_url, tmp_path) as house:
        async with house.session.get(f"{house.base}/demo") as answer:
            text = await answer.text()
            assert answer.content_type == "text/html"
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert 'pubkey="demopublic"' in text
        assert f"npm install --prefix {tmp_path}/demo @uploadcare/file-uploader" in text
        assert "https://" not in text
        script = f"{house.base}/demo/widget/file-uploader.min.js"
        assert (await house.session.get(script)).status == 404
        folder = tmp_path / "demo/node_modules/@uploadcare/file-uploader/web"
        folder.mkdir(parents=True)
        (folder / "file-uploader.min.js").write_text("export {}")
        (tmp_path / "demo/secret.js").write_text("hidden")
        async with house.session.get(script) as answer:
            assert (answer.content_type, await answer.text()) == ("text/javascript", "export {}")
        for path in ("..%2f..%2f..%2f..%2fsecret.js", "..%5csecret.js", ".js", "x.txt"):
            assert (await house.session.get(URL(f"{house.base}/demo/widget/{path}", encoded=True))).status == 404


@pytest.mark.parametrize("path", ["/demo", "/demo/widget/file-uploader.min.js"])
async def test_without_a_folder_there_is_none(house: House, path: str) -> None:
    await house.problem("GET", path, 404, "NOT_FOUND", key=None)
