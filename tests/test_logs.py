"""What a log line holds, and what it must not."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import structlog

from pipeline.logs import configure_logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, config = root.handlers, root.level, structlog.get_config()
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**config)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_the_ids_it_belongs_to() -> None:
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    log = structlog.stdlib.get_logger("here")
    with structlog.contextvars.bound_contextvars(run="r1", node="thumb"):
        log.info("node_done", ms=3)
        logging.getLogger("library").warning("it says %s", "so")
    log.info("later")
    log.debug("too quiet")
    first, second, third = lines(stream)
    assert (first["event"], first["run"], first["node"], first["ms"]) == ("node_done", "r1", "thumb", 3)
    assert (first["level"], first["logger"]) == ("info", "here") and first["timestamp"].endswith("Z")
    assert (second["event"], second["run"], second["level"]) == ("it says so", "r1", "warning")
    assert third["event"] == "later" and "run" not in third


def test_no_secret_is_written() -> None:
    stream = io.StringIO()
    configure_logs("json", "debug", stream)
    log = structlog.stdlib.get_logger("here")
    hidden = "hunter2secret"
    log.info(
        "connecting",
        url=f"redis://user:{hidden}@host/0",
        secret_key=hidden,
        headers={"Authorization": f"Bearer {hidden}", "Accept": "*/*"},
        api_keys=[hidden],
        note=f"sent Bearer {hidden}",
    )
    try:
        raise ValueError(f"redis://:{hidden}@host refused")
    except ValueError:
        log.exception("failed")
    logging.getLogger("library").error("Authorization: Bearer %s", hidden)
    assert hidden not in stream.getvalue()
    first, second, _ = lines(stream)
    assert first["url"] == "redis://user:[hidden]@host/0" and first["headers"]["Accept"] == "*/*"
    assert "ValueError" in second["exception"] and "host refused" in second["exception"]


def test_the_console_form_is_for_people_and_hides_as_much() -> None:
    stream = io.StringIO()
    configure_logs("console", "info", stream)
    log = structlog.stdlib.get_logger("here")
    log.warning("stored", file="f1", token="hunter2secret")
    try:
        raise ValueError("redis://:hunter2secret@host refused")
    except ValueError:
        log.exception("failed")
    assert "stored" in stream.getvalue() and "f1" in stream.getvalue()
    assert "hunter2secret" not in stream.getvalue()
