"""The vendor's language of conditions, in which lists are searched and uploads checked: read into a small tree.

`field op value` joined by AND, OR and parentheses; AND binds first. Operators: `=`, `:` (begins with), `<`, `<=`, `>`,
`>=`, `IN [...]`, `HAS` (all these words, whatever their case, the last one as the beginning of one), `EXISTS` without a
value, and NOT before `=`, `:`, IN or EXISTS. Fields and values may stand in double or single quotes. Sizes may be
written `1mb` (of 1024 x 1024 bytes), times as ISO 8601 or as an age such as `7d` (h, d, w, m, y).
"""

from __future__ import annotations

import operator as by
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from pipeline.model import now

Operator = Literal["=", ":", "<", "<=", ">", ">=", "in", "has", "exists"]
Value = str | int | float | bool
Kind = Literal["text", "number", "size", "time", "flag", "list"]
"""What a field holds: `list` is one of several texts, such as tags."""

LONGEST = 10_000
"""Characters of one query."""
MOST = 200
"""Comparisons in one query, and values in one list."""
DEEPEST = 20
"""Parentheses in one another."""

UNITS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}
AGES = {"h": 1 / 24, "d": 1.0, "w": 7.0, "m": 30.0, "y": 365.0}
"""Days."""

ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {"<": by.lt, "<=": by.le, ">": by.gt, ">=": by.ge}

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<sign><=|>=|!=|[=:<>()\[\],])
      | (?P<word>[^\s"'=:<>()\[\],!]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?b)?", re.IGNORECASE)
_AGE = re.compile(r"(\d{1,5})([hdwmy])")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,9})?")


class QueryInvalid(ValueError):
    """What is wrong with a query, told to whoever wrote it."""


@dataclass(frozen=True)
class Comparison:
    """A field beside a value, or beside several for `in`, none for `exists`; `negated` when it is not to be so."""

    field: str
    operator: Operator
    value: Value | tuple[Value, ...]
    negated: bool = False

    @property
    def values(self) -> tuple[Value, ...]:
        """Its value or values."""
        return self.value if isinstance(self.value, tuple) else (self.value,)


@dataclass(frozen=True)
class Every:
    """All of its parts."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Some:
    """At least one of its parts."""

    parts: tuple[Tree, ...]


Tree = Comparison | Every | Some


def parse(text: str) -> Tree:
    """The tree of a query; raises `QueryInvalid`."""
    if len(text) > LONGEST:
        raise QueryInvalid(f"It has more than {LONGEST} characters.")
    reader = _Reader(list(_tokens(text)))
    tree = reader.either(0)
    if (left := reader.peek()) is not None:
        raise QueryInvalid(f"`{left.text[:40]}` at character {left.at + 1} is not expected there.")
    return tree


def comparisons(tree: Tree) -> Iterator[Comparison]:
    """Every comparison in a tree."""
    if isinstance(tree, Comparison):
        yield tree
        return
    for part in tree.parts:
        yield from comparisons(part)


def holds(tree: Tree, look: Callable[[Comparison], bool]) -> bool:
    """Whether a tree is fulfilled, when `look` says it of each comparison that is looked at."""
    if isinstance(tree, Comparison):
        return look(tree)
    ask = all if isinstance(tree, Every) else any
    return ask(holds(part, look) for part in tree.parts)


def matches(comparison: Comparison, found: Any, kind: Kind) -> bool:
    """Whether a value found in a field of this kind is as the comparison wants it; one that is not there is not.

    Raises `QueryInvalid` for a value that means nothing in such a field.
    """
    wanted = [meant(value, kind) for value in comparison.values]
    if found is None:
        return comparison.negated
    return _fits(comparison.operator, found, wanted) is not comparison.negated


def meant(value: Value, kind: Kind) -> Any:
    """A value as a field of this kind has it; raises `QueryInvalid`."""
    if kind == "size":
        return size_of(value)
    if kind == "time":
        return time_of(value)
    if kind == "number":
        return _number(value)
    if kind == "flag":
        if isinstance(value, bool):
            return value
        raise QueryInvalid(f"`{value}` is neither true nor false.")
    return _text(value)


def size_of(value: Value) -> float:
    """Bytes; raises `QueryInvalid`."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or isinstance(value, bool):
        raise QueryInvalid(f"`{str(value)[:40]}` is no size, such as 1024 or 1mb.")
    return float(match.group(1)) * UNITS[(match.group(2) or "b").lower()]


def time_of(value: Value) -> datetime:
    """A point in time, given as such or as an age; raises `QueryInvalid`."""
    text = str(value).strip()
    if match := _AGE.fullmatch(text):
        return now() - timedelta(days=int(match.group(1)) * AGES[match.group(2)])
    try:
        at = datetime.fromisoformat(text)
    except ValueError as cause:
        raise QueryInvalid(f"`{text[:40]}` is no time, such as 2024-01-31 or 7d.") from cause
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _number(value: Value) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, str | bool):
        raise QueryInvalid(f"`{value[:40] if isinstance(value, str) else value}` is no number.")
    return float(value)


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fits(operator: Operator, found: Any, wanted: Sequence[Any]) -> bool:
    if isinstance(found, list | tuple):  # one of several is enough
        return any(_fits(operator, one, wanted) for one in found)
    if operator == "exists":
        return True
    first = wanted[0]
    if operator == "has":
        return _has(words_of(str(found)), words_of(str(first)))
    if operator in ("=", "in"):
        return any(found == one for one in wanted)
    if operator == ":":
        return str(found).startswith(str(first))
    return bool(ORDERS[operator](found, first))


def words_of(text: str) -> Sequence[str]:
    """The words of a text as they are compared."""
    return re.findall(r"[^\W_]+", text.casefold())


def _has(found: Sequence[str], wanted: Sequence[str]) -> bool:
    *whole, last = wanted or [""]
    return all(word in found for word in whole) and any(word.startswith(last) for word in found)


# Reading


class _Token(NamedTuple):
    text: str
    quoted: bool
    at: int

    def is_word(self, word: str) -> bool:
        return not self.quoted and self.text.upper() == word

    def is_sign(self, *signs: str) -> bool:
        return not self.quoted and self.text in signs


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise QueryInvalid(f"It cannot be read from character {at + 1} on.")
        begun = match.start(match.lastgroup or 0)
        if (quoted := match["quoted"]) is not None:
            yield _Token(re.sub(r"\\(.)", r"\1", quoted[1:-1], flags=re.DOTALL), True, begun)
        else:
            yield _Token(match["sign"] or match["word"], False, begun)
        at = match.end()


class _Reader:
    """Takes a query apart from left to right."""

    def __init__(self, tokens: Sequence[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._count = 0

    def peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def either(self, depth: int) -> Tree:
        """Parts joined by OR."""
        parts = [self._every(depth)]
        while self._takes_word("OR"):
            parts.append(self._every(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _every(self, depth: int) -> Tree:
        parts = [self._part(depth)]
        while self._takes_word("AND"):
            parts.append(self._part(depth))
        return parts[0] if len(parts) == 1 else Every(tuple(parts))

    def _part(self, depth: int) -> Tree:
        if not self._takes_sign("("):
            return self._comparison()
        if depth == DEEPEST:
            raise QueryInvalid(f"It has more than {DEEPEST} parentheses in one another.")
        tree = self.either(depth + 1)
        self._expect(")")
        return tree

    def _comparison(self) -> Comparison:
        self._count += 1
        if self._count > MOST:
            raise QueryInvalid(f"It has more than {MOST} conditions.")
        field = self._next("a field")
        if not field.quoted and not re.fullmatch(r"[A-Za-z_][\w.-]*", field.text):
            raise QueryInvalid(f"`{field.text[:40]}` at character {field.at + 1} is no field.")
        operator, negated = self._operator(field)
        if operator == "exists":
            return Comparison(field.text, operator, (), negated)
        return Comparison(field.text, operator, self._list() if operator == "in" else self._value(), negated)

    def _operator(self, field: _Token) -> tuple[Operator, bool]:
        negated = self._takes_word("NOT")
        if self._takes_word("IN"):
            return "in", negated
        if self._takes_word("EXISTS"):
            return "exists", negated
        if not negated and self._takes_word("HAS"):
            return "has", False
        if self._takes_sign("!="):
            return "=", not negated
        allowed: tuple[Operator, ...] = ("=", ":") if negated else ("=", ":", "<", "<=", ">", ">=")
        for operator in allowed:
            if self._takes_sign(operator):
                return operator, negated
        raise QueryInvalid(f"There is no operator after `{field.text[:40]}`.")

    def _list(self) -> tuple[Value, ...]:
        self._expect("[")
        values = [self._value()]
        while self._takes_sign(","):
            values.append(self._value())
        self._expect("]")
        if len(values) > MOST:
            raise QueryInvalid(f"A list has more than {MOST} values.")
        return tuple(values)

    def _value(self) -> Value:
        token = self._next("a value")
        if token.quoted:
            return token.text
        if token.is_sign("(", ")", "[", "]", ",", "=", ":", "<", "<=", ">", ">=", "!="):
            raise QueryInvalid(f"`{token.text}` at character {token.at + 1} is no value.")
        return _plain(self._joined(token))

    def _joined(self, token: _Token) -> str:
        """A value without quotes that has a colon in it, such as a time, goes on behind it."""
        text, end = token.text, token.at + len(token.text)
        while (following := self.peek()) and following.at == end and not following.quoted:
            if not following.is_sign(":") and not text.endswith(":"):
                break
            text, end = text + following.text, end + len(following.text)
            self._at += 1
        return text

    def _next(self, what: str) -> _Token:
        token = self.peek()
        if token is None:
            raise QueryInvalid(f"It ends where {what} is expected.")
        self._at += 1
        return token

    def _takes_word(self, word: str) -> bool:
        token = self.peek()
        taken = token is not None and token.is_word(word)
        self._at += taken
        return taken

    def _takes_sign(self, sign: str) -> bool:
        token = self.peek()
        taken = token is not None and token.is_sign(sign)
        self._at += taken
        return taken

    def _expect(self, sign: str) -> None:
        token = self.peek()
        if not self._takes_sign(sign):
            found = f"`{token.text[:40]}` at character {token.at + 1}" if token else "the end"
            raise QueryInvalid(f"`{sign}` is expected, not {found}.")


def _plain(text: str) -> Value:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text
