"""`safelight web` and `safelight worker`: one process each, for a Procfile or another supervisor."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.console import Refusal

if TYPE_CHECKING:
    import asyncio
    import socket

commands = typer.Typer()


@commands.command()
def web(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; several web processes may share it.", max=65535)] = None,
    fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    from pipeline.api.app import serve
    from pipeline.cli.group import refused_address
    from pipeline.logs import configure_logs
    from pipeline.settings import load_settings

    given = {"SAFELIGHT_HOST": host, "SAFELIGHT_PORT": port}
    environ = os.environ | {name: str(value) for name, value in given.items() if value is not None}
    settings = load_settings(environ=environ)
    configure_logs(settings.log_format, settings.log_level)
    try:
        run_fast(serve(settings, door=None if fd is None else inherited(fd)))
    except OSError as cause:
        if cause.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        raise refused_address(settings.host, settings.port, cause) from cause


@commands.command()
def worker(
    queues: Annotated[str | None, typer.Option(help="Queues to serve, comma-separated, the preferred first.")] = None,
    slots: Annotated[int | None, typer.Option(help="Runs to work on at once.", min=1)] = None,
) -> None:
    """Execute runs until SIGTERM or SIGINT."""
    argv = [sys.executable, "-m", "workers"]
    argv += ["--queues", queues] if queues else []
    argv += ["--slots", str(slots)] if slots else []
    os.execv(sys.executable, argv)  # noqa: S606 - our own interpreter; pipeline may not import workers


def inherited(descriptor: int) -> socket.socket:
    """The listening socket that the parent process handed down; raises `Refusal`."""
    import socket

    try:
        return socket.socket(fileno=descriptor)
    except OSError as cause:
        raise Refusal(f"The descriptor {descriptor} is not a socket.") from cause


def run_fast(act: Coroutine[Any, Any, None]) -> None:
    """Run the process's one coroutine, on uvloop where that is installed."""
    import asyncio

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(act)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
