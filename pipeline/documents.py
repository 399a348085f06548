"""Reads a YAML 1.2 document into plain values and remembers where every key and value was written.

Bounded for hostile text: 1 MiB, 50 levels, 10,000 values counted after aliases are followed. Scalars follow the core
schema of YAML 1.2.2 (section 10.3.2), so `16:9`, `on` and `2026-01-01` stay text; a doubled key is a fault, and a plain
`<<` key merges the mapping it names, as in YAML 1.1.
"""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)
from ruamel.yaml.reader import ReaderError

MAX_BYTES = 2**20
MAX_DEPTH = 50
MAX_VALUES = 10_000
MAX_COMPLAINTS = 100

Path = tuple[str | int, ...]
Position = tuple[int, int]


@dataclass(frozen=True)
class Complaint:
    """One fault of a document; lines and columns count from 1, line 0 means that it has no place in a text."""

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return " ".join(part for part in (place, self.code, self.message, self.hint) if part)


@dataclass
class Document:
    """Plain values, the position of each, and the faults found so far (at most 100 are kept)."""

    file: str
    value: Any = None
    keys: dict[Path, Position] = field(default_factory=dict)
    values: dict[Path, Position] = field(default_factory=dict)
    complaints: list[Complaint] = field(default_factory=list)
    readable: bool = True

    def at(self, path: Path, *, key: bool = False) -> Position:
        """Where the value at `path` begins (or its key); for what was never written, the nearest thing around it."""
        for end in range(len(path), -1, -1):
            first, second = (self.keys, self.values) if key or end < len(path) else (self.values, self.keys)
            place = first.get(path[:end]) or second.get(path[:end])
            if place:
                return place
        return (1, 1)

    @property
    def full(self) -> bool:
        """Whether so many faults were found that looking for more, or for hints, helps nobody."""
        return len(self.complaints) >= MAX_COMPLAINTS

    def complain(self, path: Path, code: str, message: str, hint: str = "", *, key: bool = False) -> None:
        """Add one fault at the value of `path`, or at its key."""
        if not self.full:
            line, column = self.at(path, key=key)
            self.complaints.append(Complaint(self.file, line, column, code, message, hint))

    def complain_all(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self.complain(fault.path, fault.code, fault.message, fault.hint, key=fault.key)

    def sorted_complaints(self) -> list[Complaint]:
        return sorted(set(self.complaints), key=lambda c: (c.line, c.column, c.file, c.code, c.message))


def read_document(text: str, file: str) -> Document:
    """What is written in `text`; `readable` is false, and `value` None, when it is not YAML or beyond the bounds."""
    document = Document(file)
    try:
        if len(text.encode()) > MAX_BYTES:
            raise _ReadError((1, 1), "The document is larger than 1 MiB.")
        root = _Composer(text).compose()
        _Expander(document).expand(root)
    except _ReadError as error:
        line, column = error.place
        document.value, document.readable = None, False
        document.complaints.append(Complaint(file, line, column, "YAML_INVALID", str(error)))
    except UnicodeEncodeError as error:
        document.readable = False
        document.complaints.append(Complaint(file, *_place_of(text, error.start), "YAML_INVALID", "It is not Unicode."))
    return document


# From text to a tree of marked nodes


class _ReadError(Exception):
    def __init__(self, place: Position, message: str) -> None:
        self.place = place
        super().__init__(message)


@dataclass(eq=False)
class _Scalar:
    place: Position
    text: str
    plain: bool


@dataclass(eq=False)
class _List:
    place: Position
    members: list[_Branch]


@dataclass(eq=False)
class _Map:
    place: Position
    pairs: list[tuple[_Branch, _Branch]]


_Branch = _Scalar | _List | _Map
_TEXT_TAGS = {"!", "tag:yaml.org,2002:str"}
_CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "seq", "map")}


class _Composer:
    """Builds the tree from parser events one at a time, so that no bound is passed before it is noticed."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._anchors: dict[str, _Branch] = {}
        self._events = self._parse()
        self._place: Position = (1, 1)
        self._count = 0

    def compose(self) -> _Branch:
        self._expect(StreamStartEvent)
        event = self._next()
        if isinstance(event, StreamEndEvent):
            return _Scalar((1, 1), "", True)
        if isinstance(event, DocumentStartEvent) and event.version not in (None, (1, 2)):
            raise _ReadError(self._place, "The document must be YAML 1.2.")
        root = self._branch(self._next(), 0)
        self._next()
        if not isinstance(self._next(), StreamEndEvent):
            raise _ReadError(self._place, "A second document begins here; one file holds one document.")
        return root

    def _parse(self) -> Iterator[Event]:
        try:
            yield from YAML(typ="safe", pure=True).parse(self._text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = (mark.line + 1, mark.column + 1) if mark else self._place
            words = [word for word in (error.context, error.problem) if word]
            raise _ReadError(place, f"{', '.join(words).capitalize()}.") from error
        except ReaderError as error:
            raise _ReadError(
                _place_of(self._text, error.position), "This character cannot be in a document."
            ) from error
        except (ValueError, IndexError, TypeError, AttributeError, AssertionError, OverflowError) as error:
            # The parser lets its own slips out unmarked, e.g. chr() of an escape beyond Unicode.
            raise _ReadError(self._place, "The document cannot be read from here on.") from error

    def _next(self) -> Event:
        event = next(self._events)
        if event.start_mark:
            self._place = (event.start_mark.line + 1, event.start_mark.column + 1)
        return event

    def _expect(self, kind: type[Event]) -> None:
        event = self._next()
        if not isinstance(event, kind):
            raise _ReadError(self._place, "The document cannot be read.")

    def _branch(self, event: Event, depth: int) -> _Branch:
        self._count += 1
        if self._count > 2 * MAX_VALUES:
            raise _ReadError(self._place, f"The document has more than {MAX_VALUES} values.")
        if depth > MAX_DEPTH:
            raise _ReadError(self._place, f"The document is nested deeper than {MAX_DEPTH} levels.")
        if isinstance(event, AliasEvent):
            return self._anchored(event)
        if not isinstance(event, ScalarEvent | CollectionStartEvent):
            raise _ReadError(self._place, "The document cannot be read from here on.")
        self._check_tag(event)
        made = self._made(event, self._place, depth)
        if event.anchor:
            self._anchors[event.anchor] = made
        return made

    def _made(self, event: ScalarEvent | CollectionStartEvent, place: Position, depth: int) -> _Branch:
        if isinstance(event, ScalarEvent):
            return _Scalar(place, event.value, bool(event.implicit[0]) and str(event.ctag or "") not in _TEXT_TAGS)
        if isinstance(event, SequenceStartEvent):
            members = []
            while not isinstance(inner := self._next(), SequenceEndEvent):
                members.append(self._branch(inner, depth + 1))
            return _List(place, members)
        pairs = []
        while not isinstance(inner := self._next(), MappingEndEvent):
            pairs.append((self._branch(inner, depth + 1), self._branch(self._next(), depth + 1)))
        return _Map(place, pairs)

    def _anchored(self, event: AliasEvent) -> _Branch:
        found = self._anchors.get(event.anchor)
        if found is None:
            raise _ReadError(self._place, f"No finished value above is anchored as `&{event.anchor[:64]}`.")
        return found

    def _check_tag(self, event: ScalarEvent | CollectionStartEvent) -> None:
        tag = str(event.ctag) if event.ctag else None
        if tag and tag not in _TEXT_TAGS and tag not in _CORE_TAGS:
            raise _ReadError(self._place, f"Tags such as `{tag[:64]}` are not used here.")


def _place_of(text: str, offset: int) -> Position:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


# From the tree to plain values


class _Expander:
    """Follows aliases and turns the tree into plain values, counting every value it makes."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._count = 0

    def expand(self, root: _Branch) -> None:
        self._document.value = self._value(root, ())

    def _value(self, branch: _Branch, path: Path) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _ReadError(branch.place, f"The document has more than {MAX_VALUES} values.")
        if len(path) > MAX_DEPTH:
            raise _ReadError(branch.place, f"The document is nested deeper than {MAX_DEPTH} levels.")
        self._document.values[path] = branch.place
        if isinstance(branch, _Scalar):
            return _scalar(branch)
        if isinstance(branch, _List):
            return [self._value(member, (*path, index)) for index, member in enumerate(branch.members)]
        return self._mapping(branch, path)

    def _mapping(self, branch: _Map, path: Path) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in branch.pairs:
            name = _key(key)
            if name == "<<" and isinstance(key, _Scalar) and key.plain:
                continue
            inner = (*path, name)
            if name in made:
                self._doubled(name, key.place, self._document.keys[inner][0])
                continue
            self._document.keys[inner] = key.place
            made[name] = self._value(value, inner)
        self._merge(branch, path, made)
        return made

    def _doubled(self, name: str, place: Position, first: int) -> None:
        if not self._document.full:
            message = f"The key `{shown(name)}` was already given in line {first}."
            complaint = Complaint(self._document.file, *place, "KEY_DOUBLED", message, "Remove one of them.")
            self._document.complaints.append(complaint)

    def _merge(self, branch: _Map, path: Path, made: dict[str, Any]) -> None:
        for key, value in branch.pairs:
            if not (isinstance(key, _Scalar) and key.plain and key.text == "<<"):
                continue
            for source in value.members if isinstance(value, _List) else [value]:
                if not isinstance(source, _Map):
                    raise _ReadError(value.place, "`<<` merges mappings only.")
                self._take(source, path, made)

    def _take(self, source: _Map, path: Path, made: dict[str, Any]) -> None:
        # A mapping that is merged twice on the way in must cost a count, or nested merges would be an alias bomb.
        self._count += 1
        scratch = _Expander(Document(self._document.file))
        scratch._count = self._count
        extra = scratch._mapping(source, path)
        self._count = scratch._count
        made |= {name: value for name, value in extra.items() if name not in made}
        for inner, place in scratch._document.keys.items():
            self._document.keys.setdefault(inner, place)
        for inner, place in scratch._document.values.items():
            self._document.values.setdefault(inner, place)


def _key(branch: _Branch) -> str:
    if not isinstance(branch, _Scalar):
        raise _ReadError(branch.place, "A key must be a plain word.")
    return _checked_text(branch)


_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def _scalar(branch: _Scalar) -> Any:
    text = branch.text
    if not branch.plain:
        return _checked_text(branch)
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if len(text) <= 400 and _INT.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if len(text) <= 400 and _FLOAT.fullmatch(text):
        return _number(branch)
    return _checked_text(branch)


def _number(branch: _Scalar) -> float:
    number = math.inf if branch.text.lower().endswith((".inf", ".nan")) else float(branch.text)
    if not math.isfinite(number):
        raise _ReadError(branch.place, "Only finite numbers can be used.")
    return number


def _checked_text(branch: _Scalar) -> str:
    try:
        branch.text.encode()
    except UnicodeEncodeError as error:
        raise _ReadError(branch.place, "The escapes of this text do not make Unicode.") from error
    return branch.text


# Hints


def shown(name: object) -> str:
    """A name as a message can repeat it: short and in one line."""
    text = " ".join(str(name).split())
    return text if len(text) <= 64 else f"{text[:61]}..."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant, None when nothing is near."""
    if len(name) > 64:
        return None
    by_form = {known_name.lower().replace("_", "").replace("-", ""): known_name for known_name in known}
    found = difflib.get_close_matches(name.lower().replace("_", "").replace("-", ""), by_form, n=1, cutoff=0.6)
    return by_form[found[0]] if found else None


def hint_for(name: str, known: Sequence[str]) -> str:
    """A sentence that names what was most likely meant, or else all there is when that is little."""
    near = nearest(name, known)
    if near:
        return f"Did you mean `{near}`?"
    return f"Known: {', '.join(known)}." if 0 < len(known) <= 16 else ""


# What pydantic says, with positions


@dataclass(frozen=True)
class Fault:
    """One fault at a path, before it is given a position."""

    path: Path
    code: str
    message: str
    hint: str = ""
    key: bool = False


def faults_of(error: ValidationError, shape: Any, value: Any) -> list[Fault]:
    """What is wrong with `value`, which was validated as `shape` (a model or any annotation), relative to its root.

    Errors of several members of a union at one place become one fault.
    """
    found: dict[tuple[Path, str, bool], Fault] = {}
    details = [detail for detail in error.errors(include_url=False) if not _follows(detail)]
    understood = {_trace(detail["loc"], value) for detail in details if not detail["type"].endswith("_type")}
    for detail in details:
        if detail["type"].endswith("_type") and _trace(detail["loc"], value) in understood:
            continue  # a member of a union that is for another type of value
        fault = _fault(detail, shape, value)
        same = found.get((fault.path, fault.code, fault.key))
        if same and same.message != fault.message and fault.code != "KEY_UNKNOWN":
            fault = Fault(
                fault.path, fault.code, _either(same.message, fault.message), same.hint or fault.hint, fault.key
            )
        found[(fault.path, fault.code, fault.key)] = fault
    return list(found.values())


def _follows(detail: Any) -> bool:
    """Whether it only says that another value, complained of itself, is missing now."""
    if detail["type"] == "default_factory_not_called":
        return True
    return detail["type"] == "too_short" and detail["ctx"]["actual_length"] == 0 and bool(detail["input"])


def _fault(detail: Any, shape: Any, value: Any) -> Fault:
    kind, location = detail["type"], detail["loc"]
    if kind == "extra_forbidden":
        path = _trace(location, value)
        name = str(path[-1])
        hint = hint_for(name, known_keys(shape, path[:-1]))
        return Fault(path, "KEY_UNKNOWN", f"There is no key `{shown(name)}` here.", hint, key=True)
    if kind == "missing":
        path = _trace(location[:-1], value)
        return Fault(path, "VALUE_INVALID", f"The key `{location[-1]}` is required.", key=True)
    path = _trace(location, value)
    message = _sentence(_spelt(path), detail["msg"])
    return Fault(path, "VALUE_INVALID", message, _literal_hint(detail), key=not path)


def _trace(location: Sequence[str | int], value: Any) -> Path:
    # pydantic puts names of union members between keys; only what was really written is a path.
    path: list[str | int] = []
    for step in location:
        if step in (value if isinstance(value, Mapping) else range(len(value)) if isinstance(value, list) else ()):
            value = value[step]
            path.append(step)
    return tuple(path)


def _spelt(path: Path) -> str:
    names = [place for place, step in enumerate(path) if isinstance(step, str)]
    if not names:
        return ""
    return f"{path[names[-1]]}{''.join(f'[{step}]' for step in path[names[-1] + 1 :])}"


def _sentence(name: str, message: str) -> str:
    message = re.sub(r"^(Value error|Assertion failed), | for <class '[\w.]+'>$", "", message)
    subject = f"`{shown(name)}`" if name else "It"
    generic = re.match(r"[A-Z][a-z]+ (?=should )", message)
    if generic:
        return f"{subject} {message[generic.end() :]}."
    return f"{subject}: {message}." if name else f"{message[:1].upper()}{message[1:]}."


def _either(first: str, second: str) -> str:
    head = first.split(" should ")[0] + " should "
    if second.startswith(head):
        return f"{first.removesuffix('.')} or {second.removeprefix(head)}"
    return first


def _literal_hint(detail: Any) -> str:
    if detail["type"] not in ("literal_error", "enum") or not isinstance(detail.get("input"), str):
        return ""
    near = nearest(detail["input"], re.findall(r"'([^']+)'", detail["ctx"]["expected"]))
    return f"Did you mean `{near}`?" if near else ""


def known_keys(shape: Any, path: Path) -> list[str]:
    """The keys that a value of `shape` may have in the mapping at `path`."""
    shapes = list(_members(shape))
    for step in path:
        shapes = [member for outer in shapes for member in _members(_inside(outer, step))]
    models = [shape for shape in shapes if isinstance(shape, type) and issubclass(shape, BaseModel)]
    return [f.alias or name for model in models for name, f in model.model_fields.items()]


def _members(shape: Any) -> Iterator[Any]:
    origin = typing.get_origin(shape)
    if origin is typing.Annotated:
        yield from _members(typing.get_args(shape)[0])
    elif origin in (typing.Union, types.UnionType):
        for member in typing.get_args(shape):
            yield from _members(member)
    elif shape is not None:
        yield shape


def _inside(shape: Any, step: str | int) -> Any:
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        fields = {f.alias or name: f.annotation for name, f in shape.model_fields.items()}
        return fields.get(str(step))
    arguments = typing.get_args(shape)
    if not arguments:
        return None
    return arguments[-1] if isinstance(step, str) else arguments[0]
