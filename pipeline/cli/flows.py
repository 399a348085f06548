"""`safelight flows`: check, show and draw flow files here; list, push and switch flows on a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.ask import ask
from pipeline.cli.console import Exit, Json, Refusal, console, refusal_of, say, say_json, say_table
from pipeline.cli.target import Data, Key, Url
from pipeline.errors import FlowInvalid

if TYPE_CHECKING:
    from pipeline.cli.client import Client
    from pipeline.documents import Complaint
    from pipeline.graph.belongings import Belongings
    from pipeline.graph.flow import Flow

commands = typer.Typer(name="flows", help="Check, show, draw and switch flows.", no_args_is_help=True)

SUFFIXES = (".yaml", ".yml")

FlowId = Annotated[str, typer.Argument(help="Id of the flow.", metavar="FLOW")]
FlowFile = Annotated[str, typer.Argument(help="Path of a YAML file, or the id of a flow in ./flows.", metavar="FLOW")]


# Offline


@commands.command()
def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Files or folders; left out, ./flows.")] = None,
    as_json: Json = False,
) -> None:
    """Check flow files; prints `file:line:col CODE message hint` for every fault and exits with 1 if there is one."""
    files = [file for path in paths or [Path("flows")] for file in flow_files(path)]
    complaints = [complaint for file in files for complaint in complaints_of(file)]
    if as_json:
        say_json({"files": [str(file) for file in files], "complaints": [vars(each) for each in complaints]})
    else:
        for complaint in complaints:
            say(str(complaint))
        if not complaints:
            say(f"{len(files)} flow{'' if len(files) == 1 else 's'} checked, nothing to complain about.")
    if complaints:
        raise typer.Exit(Exit.FAILED)


@commands.command()
def show(flow: FlowFile, as_json: Json = False) -> None:
    """Show what a flow accepts, asks for and does, node by node."""
    found = local_flow(flow)
    if as_json:
        say_json(_described(found))
        return
    say(f"{found.id}  {found.title}".rstrip())
    if found.description:
        say(found.description)
    say(f"version {found.version}, queue {found.queue}, accepts {', '.join(found.accept.types)}")
    if found.schedule:
        say(f"runs by itself at {found.schedule.cron} ({found.schedule.timezone}), next {_next(found)}")
    for name, spec in found.params.items():
        say(f"param {name}: {spec.type}" + ("" if spec.required else f", default {spec.default}"))
    rows = [(name, found.nodes[name].type, _sources(found, name), _said(found, name)) for name in found.order]
    say_table(("node", "type", "from", "parameters"), rows, "It has no nodes.")


@commands.command()
def graph(
    flow: FlowFile,
    svg: Annotated[Path | None, typer.Option(help="Write an SVG drawing to this file.", dir_okay=False)] = None,
    as_json: Json = False,
) -> None:
    """Print the graph of a flow as a Mermaid diagram, or draw it as SVG."""
    from pipeline.graph.draw import mermaid
    from pipeline.graph.draw import svg as drawn

    found = local_flow(flow)
    if svg is not None:
        _write(svg, drawn(found))
    if as_json:
        say_json({"flow": found.id, "mermaid": mermaid(found), "svg": None if svg is None else str(svg)})
    elif svg is None:
        say(mermaid(found).rstrip("\n"))
    else:
        say(f"{found.id} drawn to {svg}")


@commands.command()
def explain(
    flow: FlowFile,
    words: Annotated[list[str], typer.Argument(help="Files, globs, or INPUT=PATH.", metavar="FILE...")],
    param: Annotated[list[str] | None, typer.Option(help="A param of the flow, NAME=VALUE.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what a flow would do with files: how small they are decoded, what is held, about how much memory."""
    from pipeline.cli.console import pairs, parsed, run_async
    from pipeline.cli.local import explained
    from pipeline.cli.request import Request
    from pipeline.settings import load_settings

    request = Request(flow, words, parsed(pairs(param or [], "--param")), {}, out=None, queue=None, parallel=1)
    found = run_async(explained(load_settings(), request))
    if as_json:
        say_json({"items": [vars(step) for step in found.steps], "next": None, "peak": found.peak})
        return
    rows = [(step.act, step.node, step.how, _short(step.pixels, "P"), _short(step.memory, "B")) for step in found.steps]
    say_table(("act", "node", "how", "pixels", "memory"), rows, "Nothing is drawn; files are passed on as they are.")
    if found.peak:
        say(f"At its peak about {_short(found.peak, 'B')} of memory beside what a child needs idle.")


def _short(amount: int, unit: str) -> str:
    return f"{amount / 1e6:.1f} M{unit}" if amount else ""


def flow_files(path: Path) -> list[Path]:
    """The flow files meant by a path: itself, or those of the folder; raises `Refusal`."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file())
        if not files:
            raise Refusal(f"The folder {path} holds no flows (*.yaml).")
        return files
    if not path.is_file():
        raise Refusal(f"There is no file or folder `{path}`.")
    return [path]


def complaints_of(file: Path) -> Sequence[Complaint]:
    """Every fault of a flow file, also what it names that is not in the folder of assets beside it."""
    from pipeline.graph.belongings import Belongings
    from pipeline.graph.flow import load_flow

    try:
        load_flow(file.stem, read_text(file), str(file), Belongings.of(file.parent))
    except FlowInvalid as error:
        found: Sequence[Complaint] = error.facts["complaints"]
        return found
    return []


def local_flow(flow: str) -> Flow:
    """The sound flow in a file, or of an id in the flows folder here; raises `Refusal` with its faults."""
    return loaded(flow_file(flow))


def loaded(file: Path, belongings: Belongings | None = None) -> Flow:
    """The sound flow in a file; raises `Refusal` with its faults, and with what it lacks of `belongings`."""
    from pipeline.graph.flow import load_flow

    try:
        return load_flow(file.stem, read_text(file), str(file), belongings)
    except FlowInvalid as error:
        raise refusal_of(error) from error


def ready(file: Path) -> Flow:
    """The flow in a file that can be run where it lies; raises `Refusal` with its faults and what it lacks."""
    from pipeline.graph.belongings import Belongings

    return loaded(file, Belongings.of(file.parent))


def flow_file(flow: str) -> Path:
    """Where the flow lies: a path as given, an id in the configured folder or among the starter flows."""
    from pipeline.cli.starter import STARTER_FLOWS
    from pipeline.settings import load_settings

    path = Path(flow)
    if path.suffix in SUFFIXES:
        return path
    folders = [load_settings().flows_dir, *STARTER_FLOWS]
    found = next((folder / f"{flow}.yaml" for folder in folders if (folder / f"{flow}.yaml").is_file()), None)
    if found is None:
        raise Refusal(f"There is no flow `{flow}` in {folders[0]}.", "give the path of a YAML file.")
    return found


def read_text(file: Path) -> str:
    """The text of a flow file; raises `Refusal`."""
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as cause:
        raise Refusal(f"The file {file} is not UTF-8 text.") from cause
    except OSError as cause:
        raise Refusal(f"The file {file} cannot be read: {cause.strerror}.") from cause


def _described(flow: Flow) -> dict[str, Any]:
    return {
        "id": flow.id,
        "version": flow.version,
        "title": flow.title,
        "description": flow.description,
        "accept": flow.accept.model_dump(mode="json"),
        "params": {name: spec.model_dump(mode="json", exclude_unset=True) for name, spec in flow.params.items()},
        "queue": flow.queue,
        "schedule": _schedule(flow),
        "order": list(flow.order),
        "nodes": {
            name: {"type": spec.type, "sources": _source_names(flow, name), "parameters": dict(_own(spec.parameters))}
            for name, spec in flow.nodes.items()
        },
    }


def _schedule(flow: Flow) -> dict[str, Any] | None:
    if flow.schedule is None:
        return None
    return flow.schedule.model_dump(mode="json", exclude_unset=True) | {"next": _next(flow)}


def _next(flow: Flow) -> str:
    """The next tick, in the time zone of the schedule."""
    from zoneinfo import ZoneInfo

    from pipeline.model import now

    assert flow.schedule is not None
    tick = flow.schedule.next_after(now())
    return tick.astimezone(ZoneInfo(flow.schedule.timezone)).isoformat() if tick else "never"


def _own(parameters: Any) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in ("type", "from", "from_")}


def _source_names(flow: Flow, name: str) -> list[str]:
    return [".".join(part for part in (edge.source, edge.source_port) if part) for edge in flow.into[name]]


def _sources(flow: Flow, name: str) -> str:
    return ", ".join(_source_names(flow, name))


def _said(flow: Flow, name: str) -> str:
    return ", ".join(f"{key}: {value}" for key, value in _own(flow.nodes[name].parameters).items())


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as cause:
        raise Refusal(f"The file {file} cannot be written: {cause.strerror}.") from cause


# On a server


@commands.command("ls")
def list_flows(url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """List the flows of the server."""
    page = ask(url, key, data, lambda client: client.pages("/v1/flows", 10_000))
    if as_json:
        say_json(page)
        return
    rows = [(flow["id"], flow["active"] or "-", _state(flow), flow["title"]) for flow in page["items"]]
    say_table(("flow", "active", "state", "title"), rows, "The server has no flows.")


@commands.command()
def push(
    files: Annotated[list[Path], typer.Argument(help="Flow files or folders.", metavar="FILE...")],
    draft: Annotated[bool, typer.Option("--draft", help="Keep the version without activating it.")] = False,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Send flow files to the server; each becomes the active version of its flow unless it is a draft."""
    paths = [file for path in files for file in flow_files(path)]

    async def send(client: Client) -> list[Any]:
        return [await push_file(client, path, activate=not draft) for path in paths]

    for version in ask(url, key, data, send):
        if as_json:
            say_json(version)
        else:
            say(f"{version['flow']} {version['version']} {'active' if version['active'] else 'kept'}")


@commands.command()
def pull(
    flow: FlowId,
    out: Annotated[Path | None, typer.Option(help="File to write; left out, standard output.", dir_okay=False)] = None,
    version: Annotated[str | None, typer.Option(help="A version; left out, the active one.")] = None,
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Fetch the YAML of a flow from the server, comments and all."""
    found = ask(url, key, data, lambda client: client.get(f"/v1/flows/{flow}", version=version))
    if out is not None:
        _write(out, found["text"])
    if as_json:
        say_json({"flow": flow, "version": found["version"], "text": found["text"]})
    elif out is None:
        say(found["text"].rstrip("\n"))
    else:
        say(f"{flow} {found['version']} written to {out}")


@commands.command()
def activate(
    flow: FlowId,
    version: Annotated[str, typer.Argument(help="The version to trigger from now on.")],
    url: Url = None,
    key: Key = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Switch a flow to a version; the way back is the same command."""
    _turn(f"/v1/flows/{flow}/activate", {"version": version}, url, key, data, as_json)


@commands.command()
def pause(flow: FlowId, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Refuse new runs of a flow until it is resumed."""
    _turn(f"/v1/flows/{flow}/pause", None, url, key, data, as_json)


@commands.command()
def resume(flow: FlowId, url: Url = None, key: Key = None, data: Data = None, as_json: Json = False) -> None:
    """Let a paused flow be triggered again."""
    _turn(f"/v1/flows/{flow}/resume", None, url, key, data, as_json)


async def push_file(client: Client, file: Path, activate: bool = True) -> Any:
    """The version that a flow file became on the server; raises `Refusal` with its faults.

    What the server lacks to run it is said on stderr.
    """
    from pipeline.documents import Complaint

    loaded(file)
    wish = str(activate).lower()
    made = await client.put_text(f"/v1/flows/{file.stem}", read_text(file), "application/yaml", activate=wish)
    for warning in made["warnings"]:
        console(stderr=True).print(f"Warning: {Complaint(**warning)}", markup=False)
    return made


def _turn(path: str, document: Any, url: str | None, key: str | None, data: Path | None, as_json: bool) -> None:
    flow = ask(url, key, data, lambda client: client.post(path, document))
    if as_json:
        say_json(flow)
    else:
        say(f"{flow['id']} {flow['active'] or '-'} {_state(flow)}")


def _state(flow: Any) -> str:
    if flow["paused"]:
        return "paused"
    return "active" if flow["active"] else "inactive"
