"""`safelight webhooks`: who is told of events, whether it hears, and sending again what it missed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.ask import ask
from pipeline.cli.console import Exit, Json, Refusal, say, say_json, say_table
from pipeline.cli.target import Data, Key, Url

if TYPE_CHECKING:
    from pipeline.cli.client import Client

commands = typer.Typer(name="webhooks", help="See, make, try and replay webhooks.", no_args_is_help=True)

WebhookId = Annotated[str, typer.Argument(help="Id of the webhook.", metavar="WEBHOOK")]
LOOK_AGAIN = 0.1
PATIENCE = 15.0
"""Seconds for which the answer to a ping is waited for."""


@commands.command("ls")
def list_webhooks(url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """List webhooks and how they fare."""
    found = ask(url, key, data, lambda client: client.get("/v1/webhooks"))
    if as_json:
        say_json(found)
        return
    rows = [(one["id"], one["url"], _events(one), one["origin"], _state(one)) for one in found["items"]]
    say_table(("webhook", "address", "events", "from", "state"), rows, "There are no webhooks.")


@commands.command()
def add(
    address: Annotated[str, typer.Argument(help="What is to be told.", metavar="ADDRESS")],
    event: Annotated[
        list[str] | None, typer.Option(help="Told of this; may be repeated; left out, of all but the steps of runs.")
    ] = None,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have an address told of events, and print the secret that signs them."""
    wanted = {"url": address, "events": event or []}
    made = ask(url, key, data, lambda client: client.post("/v1/webhooks", wanted))
    if as_json:
        say_json(made)
        return
    say(f"webhook: {made['id']}")
    say(f"secret: {made['secret']}")


@commands.command("rm")
def remove(webhook: WebhookId, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Tell a webhook nothing more."""
    ask(url, key, data, lambda client: client.delete(f"/v1/webhooks/{webhook}"))
    if as_json:
        say_json({"deleted": webhook})
    else:
        say(f"deleted {webhook}")


@commands.command()
def ping(webhook: WebhookId, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Send a webhook a message and say how it was received; ends with 1 when it was not."""
    delivery = ask(url, key, data, lambda client: _pinged(client, webhook))
    if as_json:
        say_json(delivery)
    if delivery["status"] == "waiting":
        raise Refusal(f"No worker has sent it within {PATIENCE:g} seconds.", code=Exit.FAILED)
    tried = delivery["tries"][-1]
    if delivery["status"] == "failed":
        raise Refusal(tried["error"]["message"], code=Exit.FAILED)
    if not as_json:
        say(f"answered {tried['status']} after {tried['ms']:g} ms")


async def _pinged(client: Client, webhook: str) -> Any:
    import asyncio

    delivery = await client.post(f"/v1/webhooks/{webhook}/ping")
    deadline = time.monotonic() + PATIENCE
    while delivery["status"] == "waiting" and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_AGAIN)
        delivery = await client.get(f"/v1/deliveries/{delivery['id']}")
    return delivery


@commands.command()
def replay(
    webhook: WebhookId,
    since: Annotated[str | None, typer.Option(help="Only what was made since then, ISO 8601.")] = None,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Send again what failed to reach a webhook."""
    which = {"since": since}
    told = ask(url, key, data, lambda client: client.post(f"/v1/webhooks/{webhook}/replay", which))
    if as_json:
        say_json(told)
    else:
        say(f"{told['count']} sent again.")


@commands.command()
def deliveries(
    webhook: WebhookId,
    status: Annotated[str | None, typer.Option(help="waiting, delivered or failed.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, newest first.", min=1)] = 50,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List what a webhook was sent, newest first."""
    path = f"/v1/webhooks/{webhook}/deliveries"
    page = ask(url, key, data, lambda client: client.pages(path, limit, status=status))
    if as_json:
        say_json(page)
        return
    rows = [(one["id"], one["type"], one["status"], len(one["tries"]), one["created_at"]) for one in page["items"]]
    say_table(("delivery", "event", "status", "tries", "since"), rows, "It was sent nothing.")


def _events(webhook: dict[str, Any]) -> str:
    return ", ".join(webhook["events"]) or "all"


def _state(webhook: dict[str, Any]) -> str:
    if webhook["disabled"]:
        return f"disabled: {webhook['disabled']['reason']}"
    return f"failing since {webhook['failing_since']}" if webhook["failing_since"] else "told"
