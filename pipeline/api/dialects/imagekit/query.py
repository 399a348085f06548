"""The vendor's language of conditions, in which lists are searched and uploads checked: read into a small tree.

`field op value` joined by AND, OR and parentheses; AND binds first. Operators: `=`, `:` (begins with), `<`, `<=`, `>`,
`>=`, `IN [...]`, `HAS` (all these words, whatever their case, the last one as the beginning of one), `EXISTS` without a
value, and NOT before `=`, `:`, IN or EXISTS. Fields and values may stand in double or single quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Operator = Literal["=", ":", "<", "<=", ">", ">=", "in", "has", "exists"]
Value = str | int | float | bool

LONGEST = 10_000
"""Characters of one query."""
MOST = 200
"""Comparisons in one query, and values in one list."""
DEEPEST = 20
"""Parentheses in one another."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<sign><=|>=|!=|[=:<>()\[\],])
      | (?P<word>[^\s"'=:<>()\[\],!]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,9})?")
"""A number as it is written."""


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
    if NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text
