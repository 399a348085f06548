"""The fixed, safe placeholders that a flow's strings may hold: `products/{file.id}/{node}.webp`.

No expressions: a name is looked up in a mapping of facts and nothing else happens. `{{` and `}}` are plain braces. A
string that is one placeholder and nothing else keeps the type of its value.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipeline.documents import nearest, shown
from pipeline.errors import NodeInvalid

NAMES: dict[str, str] = {
    "file.id": "id of the file that came in",
    "file.name": "its name",
    "file.stem": "its name without the extension",
    "file.ext": "its extension without the dot",
    "node": "id of the node that made what is saved",
    "width": "width in pixels of what is saved",
    "height": "height in pixels of what is saved",
    "format": "jpeg, png, webp, ... of what is saved",
    "run.id": "id of the run",
    "flow.id": "id of the flow",
    "params.<name>": "a param of the run",
    "metadata.<key>": "a metadata value of the run or its file",
    "date:<format>": "when the run was created, UTC, such as {date:%Y/%m}",
    "secrets.<name>": "a secret of the run's project, in what is sent to other servers",
}
SAMPLES: dict[str, Any] = {
    "file.id": "0b5f1c62-0000-4000-8000-000000000000",
    "file.name": "sample.jpg",
    "file.stem": "sample",
    "file.ext": "jpg",
    "node": "node",
    "width": 1000,
    "height": 1000,
    "format": "jpeg",
    "run.id": "0b5f1c62-0000-4000-8000-000000000001",
    "flow.id": "flow",
    "date": datetime(2026, 1, 1, tzinfo=UTC),
}
"""Facts of a run that could be, for checking a flow before there is one; metadata counts as `1`."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|\{")
_METADATA = re.compile(r"metadata\.[A-Za-z0-9_.-]{1,64}")
_SECRET = re.compile(r"secrets\.[A-Za-z_][A-Za-z0-9_-]{0,63}")
_DATE = re.compile(r"date:([^%{}]|%[YymdHMSjGVu%]){1,40}")


@dataclass(frozen=True)
class Placeholder:
    """One `{name}` of a string; `name` is what stands between the braces."""

    name: str

    @property
    def at_load(self) -> bool:
        """Whether the flow alone bounds its value."""
        return self.name.startswith("params.") or self.name == "flow.id"

    @property
    def is_secret(self) -> bool:
        """Whether only `reveal` knows its value."""
        return self.name.startswith("secrets.")


@dataclass(frozen=True)
class Unknown:
    """Something in braces that is no placeholder."""

    message: str
    hint: str


def pieces(text: str) -> Iterator[str | Placeholder]:
    """The string as plain parts and placeholders in turn; a lone `{` comes out as `Placeholder("{")`."""
    end = 0
    for token in _TOKEN.finditer(text):
        yield text[end : token.start()]
        end = token.end()
        if token.group() in ("{{", "}}"):
            yield token.group()[0]
        else:
            yield Placeholder("{" if token.group(1) is None else token.group(1))
    yield text[end:]


def placeholders(text: str) -> list[Placeholder]:
    return [piece for piece in pieces(text) if isinstance(piece, Placeholder)]


def unknown(placeholder: Placeholder, params: Collection[str]) -> Unknown | None:
    """What is wrong with the placeholder in a flow that declares `params`, None when nothing is."""
    name = placeholder.name
    if name == "{":
        return Unknown("A brace is not closed.", "Write `{{` for a brace that is not a placeholder.")
    if name in SAMPLES and name != "date":
        return None
    if any(known.fullmatch(name) for known in (_METADATA, _DATE, _SECRET)):
        return None
    if name.startswith("params."):
        return _unknown_param(name.removeprefix("params."), params)
    if name.startswith("date"):
        return Unknown(f"There is no placeholder `{{{shown(name)}}}`.", "Write a date as `{date:%Y-%m-%d}`.")
    return Unknown(f"There is no placeholder `{{{shown(name)}}}`.", _hint(name, params))


def _unknown_param(name: str, params: Collection[str]) -> Unknown | None:
    if name in params:
        return None
    near = nearest(name, params)
    hint = f"Did you mean `{{params.{near}}}`?" if near else "Declare it under `params`."
    return Unknown(f"The flow has no param `{shown(name)}`.", hint)


def _hint(name: str, params: Collection[str]) -> str:
    known = [known_name for known_name in NAMES if "<" not in known_name] + [f"params.{param}" for param in params]
    near = nearest(name, known) or next((known_name for known_name in known if known_name.endswith(f".{name}")), None)
    if near:
        return f"Did you mean `{{{near}}}`?"
    return "Known: " + ", ".join(f"{{{known_name}}}" for known_name in NAMES) + "; `{{` is a plain brace."


def fill(text: str, facts: Mapping[str, Any], sealed: bool = False) -> Any:
    """The string with every placeholder replaced by its fact; a string that is one placeholder becomes the fact.

    `facts` maps names as written (`file.id`, `params.x`) to values, and `date` to a datetime. Raises `NodeInvalid`
    when there is no such fact. What is `sealed` stays a template for `reveal`, with secrets as its only placeholders.
    """
    parts = [piece for piece in pieces(text) if piece != ""]
    if sealed:
        return "".join(_sealed(part, facts) for part in parts)
    if len(parts) == 1 and isinstance(parts[0], Placeholder):
        return _fact(parts[0].name, facts)
    return "".join(part if isinstance(part, str) else _spelt(part.name, facts) for part in parts)


def reveal(text: str, secrets: Mapping[str, str]) -> str:
    """What was filled `sealed`, with its secrets; raises `NodeInvalid` for one that the project does not have."""
    return "".join(piece if isinstance(piece, str) else _secret(piece.name, secrets) for piece in pieces(text))


def fill_all(value: Any, facts: Mapping[str, Any], sealed: bool = False) -> Any:
    """`value` with every string in it filled."""
    if isinstance(value, str):
        return fill(value, facts, sealed)
    if isinstance(value, list):
        return [fill_all(member, facts, sealed) for member in value]
    if isinstance(value, dict):
        return {key: fill_all(member, facts, sealed) for key, member in value.items()}
    return value


def _fact(name: str, facts: Mapping[str, Any]) -> Any:
    if name.startswith("date:"):
        moment = facts.get("date")
        if isinstance(moment, datetime):
            return moment.strftime(name.removeprefix("date:"))
    elif name in facts:
        return facts[name]
    raise NodeInvalid(reason=f"there is no value for {{{name}}} here")


def _spelt(name: str, facts: Mapping[str, Any]) -> str:
    value = _fact(name, facts)
    if value is None:
        raise NodeInvalid(reason=f"there is no value for {{{name}}} here")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sealed(piece: str | Placeholder, facts: Mapping[str, Any]) -> str:
    # Braces are doubled, so that nothing a stranger named a file can pass for a placeholder afterwards.
    if isinstance(piece, Placeholder) and piece.is_secret:
        return f"{{{piece.name}}}"
    text = piece if isinstance(piece, str) else _spelt(piece.name, facts)
    return text.replace("{", "{{").replace("}", "}}")


def _secret(name: str, secrets: Mapping[str, str]) -> str:
    key = name.removeprefix("secrets.")
    if key not in secrets:
        raise NodeInvalid(reason=f"the settings of the project have no secret `{shown(key)}`")
    return secrets[key]
