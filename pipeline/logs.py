"""What the log says: one line an event, for a console or as JSON, with the ids it belongs to and without secrets.

Bind `request`, `run` or `node` with `structlog.contextvars.bound_contextvars(run=...)`; every line written inside the
block carries them, also those of libraries that use the standard library's logging.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor

SECRET_NAME = re.compile(r"secret|password|passwd|token|authorization|cookie|signature|credential|api_?keys?$", re.I)
URL_PASSWORD = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]+(?=@)")
BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}")
SCHEMES = ("bearer", "basic")
HIDDEN = "[hidden]"
QUIET = ("arq", "asyncio", "botocore", "aiobotocore", "aioboto3", "urllib3", "watchfiles", "PIL", "pyvips")


def configure_logs(form: Literal["console", "json"], level: str, stream: TextIO | None = None) -> None:
    """Send every log line, ours and the libraries', to `stream` (standard error) as `console` or `json`."""
    shared = _shared()
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, *_renderers(form)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _renderers(form: Literal["console", "json"]) -> list[Processor]:
    # A pretty traceback would show the values of variables, secrets among them.
    plain = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    return [
        structlog.processors.format_exc_info,
        _redact_traceback,
        structlog.processors.JSONRenderer(_dumps) if form == "json" else plain,
    ]


def _dumps(line: Any, **_: Any) -> str:
    return orjson.dumps(line, default=str).decode()


def redact(_: Any, __: str, line: EventDict) -> EventDict:
    """The log line with secrets replaced, whether a field's name or the form of a text gives them away."""
    return {name: _hidden(name, value) for name, value in line.items()}


def _redact_traceback(_: Any, __: str, line: EventDict) -> EventDict:
    if "exception" in line:
        line["exception"] = _without_secrets(line["exception"])
    return line


@lru_cache(1024)
def _is_secret(name: str) -> bool:
    return SECRET_NAME.search(name) is not None


def _hidden(name: str, value: Any) -> Any:
    if value is not None and _is_secret(name):
        return HIDDEN
    if isinstance(value, str):
        return _without_secrets(value)
    if isinstance(value, Mapping | MutableMapping):
        return {key: _hidden(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and name != "exc_info":
        return [_hidden("", inner) for inner in value]
    return value


def _without_secrets(text: str) -> str:
    if "://" not in text and not any(word in text.lower() for word in SCHEMES):
        return text
    return BEARER.sub(rf"\1 {HIDDEN}", URL_PASSWORD.sub(rf"\1:{HIDDEN}", text))
