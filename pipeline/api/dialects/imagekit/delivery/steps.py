"""How a transformation is written: parameters joined by `,` in steps joined by `:`, with layers and conditionals in it.

Inside `l-<kind>,...,l-end` and `if-<condition>,...,if-end` both signs belong to what is inside; either may be nested.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from pipeline.errors import RequestInvalid

MOST_PARTS = 400
"""Parameters of one address, those of its layers among them."""
DEEPEST = 3
"""How deep layers lie in each other."""
DEEPEST_CHOICE = 5
"""How deep conditionals lie in each other."""
LAYERS = frozenset({"image", "text", "video", "subtitles"})

SHOWN = 64
"""Characters of a parameter that an error repeats."""

_PART = re.compile(r"([^,:]*)([,:]?)")

T = TypeVar("T")


class Unclear(Exception):
    """A value that cannot be read; tells what is wanted instead."""


@dataclass(frozen=True)
class Param:
    """`w-300`: key and value, decoded once; `N5` and `@@` in it are left to who reads it."""

    key: str
    value: str


@dataclass(frozen=True)
class Layer:
    """`l-image,i-logo.png,w-50:rt-90,lx-10,l-end`: what is laid over, as steps of its own.

    What says where it comes from and where it lies (`i`, `ie`, `lx`, `lm`, ...) may stand in any of them.
    """

    kind: str
    steps: tuple[Step, ...]

    @cached_property
    def said(self) -> dict[str, str]:
        """The parameters of all its steps together; of several with one key the last counts."""
        return {param.key: param.value for step in self.steps for param in step.params}


@dataclass(frozen=True)
class Choice:
    """`if-ar_gt_1,w-200,if-else,w-300,if-end`: which steps are taken is known when the picture is."""

    condition: str
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...] = ()


Part = Param | Layer | Choice


@dataclass(frozen=True)
class Step:
    """What is done to the picture in one go, as it was written."""

    parts: tuple[Part, ...]

    @cached_property
    def params(self) -> tuple[Param, ...]:
        """Its parameters in their order."""
        return tuple(part for part in self.parts if isinstance(part, Param))

    @cached_property
    def said(self) -> dict[str, str]:
        """Its parameters by key; of several with one key the last counts, but see `effects`."""
        return {param.key: param.value for param in self.params}

    @cached_property
    def effects(self) -> tuple[str, ...]:
        """What follows each `e-`, in order."""
        return tuple(param.value for param in self.params if param.key == "e")

    def read(self, key: str, reader: Callable[[str], T]) -> T | None:
        """What `reader` makes of a parameter, None without it; raises `RequestInvalid` where that is `Unclear`."""
        if key not in self.said:
            return None
        with wanted(key, self.said[key]):
            return reader(self.said[key])

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(part for part in self.parts if isinstance(part, Layer))

    @cached_property
    def choices(self) -> tuple[Choice, ...]:
        return tuple(part for part in self.parts if isinstance(part, Choice))


def steps_of(text: str) -> tuple[Step, ...]:
    """The steps of a transformation, percent-encoding undone; raises `RequestInvalid` for what does not add up."""
    words = list(_words(text))
    if len(words) > MOST_PARTS:
        raise RequestInvalid(reason=f"A transformation has at most {MOST_PARTS} parameters.")
    reader = _Reader(words)
    steps = reader.chain(())
    if reader.left:
        raise RequestInvalid(reason=f"`{reader.left[0]}` closes what was not opened.")
    return steps


@contextmanager
def wanted(key: str, value: str) -> Iterator[None]:
    """Raise `RequestInvalid` with the parameter and what it takes where what is done within finds it `Unclear`."""
    try:
        yield
    except Unclear as unclear:
        given = f"{key}-{value}"[:SHOWN]
        raise RequestInvalid(reason=f"`{given}`: it takes {unclear}.") from unclear


def steps_in(steps: Sequence[Step]) -> Iterator[Step]:
    """These steps, and those in their conditionals and layers."""
    for step in steps:
        yield step
        for part in step.parts:
            if isinstance(part, Layer):
                yield from steps_in(part.steps)
            elif isinstance(part, Choice):
                yield from steps_in((*part.then, *part.otherwise))


def layers_in(steps: Sequence[Step]) -> Iterator[Layer]:
    """Every layer of these steps, those in conditionals and in other layers among them."""
    for step in steps_in(steps):
        yield from step.layers


def _words(text: str) -> Iterator[tuple[str, str]]:
    """Each part with the sign behind it."""
    for match in _PART.finditer(text):
        if match.group(1) or match.group(2):
            yield match.group(1).strip(), match.group(2)


class _Reader:
    """Reads parts from left to right."""

    def __init__(self, words: Sequence[tuple[str, str]]) -> None:
        self._words = words
        self._next = 0
        self._depth = self._choices = 0

    @property
    def left(self) -> tuple[str, str] | None:
        """What comes next, None at the end."""
        return self._words[self._next] if self._next < len(self._words) else None

    def chain(self, ends: tuple[str, ...]) -> tuple[Step, ...]:
        """Steps up to one of `ends`, which is left to be read, or the end of all."""
        steps: list[Step] = []
        parts: list[Part] = []
        while self.left and self.left[0] not in ("l-end", "if-else", "if-end"):
            part, sign = self._part()
            parts += [part] if part else []
            if sign == ":":
                steps.append(Step(tuple(parts)))
                parts = []
        if ends and not (self.left and self.left[0] in ends):
            raise RequestInvalid(reason=f"{' or '.join(f'`{end}`' for end in ends)} is missing.")
        return tuple(step for step in (*steps, Step(tuple(parts))) if step.parts)

    def _part(self) -> tuple[Part | None, str]:
        word, sign = self._take()
        key, dash, value = word.partition("-")
        if key == "l" and dash:
            return self._layer(value)
        if key == "if" and dash:
            return self._choice(value)
        return (Param(key, value) if word else None), sign

    def _take(self) -> tuple[str, str]:
        self._next += 1
        return self._words[self._next - 1]

    def _layer(self, kind: str) -> tuple[Layer, str]:
        if kind not in LAYERS:
            raise RequestInvalid(reason=f"`l-{kind[:40]}`: a layer is `image`, `text`, `video` or `subtitles`.")
        self._depth += 1
        if self._depth > DEEPEST:
            raise RequestInvalid(reason=f"Layers lie at most {DEEPEST} deep in each other.")
        steps = self.chain(("l-end",))
        self._depth -= 1
        return Layer(kind, steps), self._take()[1]

    def _choice(self, condition: str) -> tuple[Choice, str]:
        self._choices += 1
        if self._choices > DEEPEST_CHOICE:
            raise RequestInvalid(reason=f"Conditionals lie at most {DEEPEST_CHOICE} deep in each other.")
        then = self.chain(("if-else", "if-end"))
        otherwise: tuple[Step, ...] = ()
        word, sign = self._take()
        if word == "if-else":
            otherwise = self.chain(("if-end",))
            sign = self._take()[1]
        self._choices -= 1
        return Choice(condition, then, otherwise), sign
