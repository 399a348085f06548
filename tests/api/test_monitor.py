"""How the server says that it is alive, ready and busy; and what it says when what it stands on is away."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from .conftest import serving
from .house import CONFIG, House, Multipart, photo


async def test_alive_and_ready(house: House) -> None:
    assert await house.json("GET", "/livez", key=None) == {"status": "alive"}
    ready = await house.json("GET", "/readyz", key=None)
    assert (ready["status"], ready["reasons"]) == ("ready", [])
    assert any("AOF" in warning or "append" in warning.lower() for warning in ready["warnings"])


async def test_metrics_count_uploads_runs_and_queues(house: House) -> None:
    await house.send(b"text")
    await house.problem("POST", "/v1/files", 415, "TYPE_NOT_ALLOWED", data=b"text", key="draft-key")
    form = Multipart().field("photo", photo(), "p.jpg").end()
    await house.json("POST", "/v1/flows/pair/pause")
    await house.problem("POST", "/v1/flows/pair/runs", 409, "FLOW_PAUSED", **form)
    await house.json("POST", "/v1/flows/tiny/runs", 202, **form)
    async with house.ask("GET", "/metrics", key=None) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        lines = (await answer.text()).splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert float(values['safelight_uploads_total{dialect="native",outcome="accepted"}']) >= 2
    assert float(values['safelight_uploads_total{dialect="native",outcome="TYPE_NOT_ALLOWED"}']) >= 1
    assert float(values['safelight_triggers_total{outcome="started"}']) >= 1
    assert float(values['safelight_triggers_total{outcome="FLOW_PAUSED"}']) >= 1
    assert 'safelight_queue_jobs{queue="bulk",state="queued"}' in values
    assert any(name.startswith("process_resident_memory_bytes") for name in values)


async def test_queues_count_open_runs(house: House) -> None:
    rows = (await house.json("GET", "/v1/queues"))["items"]
    assert [row["name"] for row in rows] == ["interactive", "default", "bulk", "errands"]
    assert all(row["queued"] == row["delayed"] == row["running"] == row["waiting"] == 0 for row in rows)


async def test_without_redis_everything_is_a_503_that_says_when_to_come_back(tmp_path: Path) -> None:
    async with serving(CONFIG, f"unix://{tmp_path}/nothing.sock", tmp_path) as lonely:
        await lonely.json("GET", "/livez", key=None)

        async def asked(method: str, path: str, body: bytes | None = None) -> None:
            async with lonely.ask(method, path, data=body) as answer:
                assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (503, True), path
                assert (await answer.json(content_type=None))["code"] == "RECORDS_UNAVAILABLE"

        unready, *_ = await asyncio.gather(  # each is tried for some seconds
            lonely.json("GET", "/readyz", 503, key=None),
            asked("GET", "/v1/files"),
            asked("GET", "/v1/runs"),
            asked("GET", "/v1/flows"),
            asked("GET", "/v1/events?from=0"),
            asked("POST", "/v1/files", b"text"),
            asked("POST", "/v1/flows/tiny/runs", b"text"),
        )
        assert unready["reasons"][0].startswith("records: ")
        async with lonely.ask("GET", "/metrics", key=None) as answer:
            assert answer.status == 200


@pytest.mark.usefixtures("redis")
async def test_without_a_storage_folder_the_server_is_not_ready(redis_url: str, tmp_path: Path) -> None:
    async with serving(CONFIG, redis_url, tmp_path) as broken:
        shutil.rmtree(tmp_path / "files", ignore_errors=True)
        (tmp_path / "files").write_text("in the way")
        unready = await broken.json("GET", "/readyz", 503, key=None)
        assert unready["reasons"][0].startswith("storage `default`: ")
        problem = await broken.problem("POST", "/v1/files?name=a.txt", 503, "STORAGE_UNAVAILABLE", data=b"text")
        assert "default" not in problem["detail"] and str(tmp_path) not in problem["detail"]


@pytest.mark.usefixtures("redis")
async def test_an_s3_that_is_not_there_is_a_503_that_says_when_to_come_back(redis_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    away = f"s3://bucket/x?endpoint=http://127.0.0.1:{port}&region=us-east-1&access_key=a&secret_key=b"
    more = 'storages: {{default: "{away}"}}\n'
    async with serving(CONFIG + more, redis_url, tmp_path, away=away) as far:
        async with far.ask("POST", "/v1/files?name=a.txt", data=b"text") as answer:
            assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (503, True)
            assert (await answer.json(content_type=None))["code"] == "STORAGE_UNAVAILABLE"
        listed = await far.json("GET", "/v1/files")
        assert listed["items"] == []


@pytest.mark.usefixtures("redis")
async def test_a_full_disk_is_a_503_and_all_is_well_once_there_is_room(redis_url: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("a small disk can only be made by root")
    try:
        more = 'storages: {{default: "file://{disk}"}}\n'
        async with serving(CONFIG + more, redis_url, tmp_path, disk=str(disk)) as small:
            kept = await small.send(b"k" * 500_000, "kept.bin")
            async with small.ask("POST", "/v1/files?name=large.bin", data=b"x" * 2_500_000) as answer:
                assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (503, True)
                assert (await answer.json(content_type=None))["code"] == "STORAGE_FULL"
            files = [path.name for path in disk.rglob("*") if path.is_file()]
            assert sorted(files) == ["kept.bin", "kept.bin.json"]
            async with small.ask("GET", kept["url"], key=None) as answer:
                assert await answer.read() == b"k" * 500_000
            await small.send(b"y" * 500_000, "later.bin")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/docs", "/openapi.json"])
async def test_head_is_answered_where_get_is(house: House, path: str) -> None:
    async with house.ask("HEAD", path, key=None) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
