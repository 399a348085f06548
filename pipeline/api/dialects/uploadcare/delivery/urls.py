"""What the path of a delivery address says: operations in their order, and the name the result is to have.

`/<uuid>/-/op/params/-/op/.../name`, the path as it was sent: what is not plain ASCII is percent-encoded UTF-8, a slash
inside a parameter cannot be written but in a text (as `~s`), and `%` may also be written `p` in numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.api.spelling import check_open, decoded
from pipeline.errors import RequestInvalid

MOST_STEPS = 60
"""Operations in one address."""
LONGEST = 6000
"""Characters of a path, as it is sent."""
MARK = "-"
BARE = frozenset({"gif2video", "detect_faces"})
"""Operations that clients write without a mark in front."""
IGNORED = "@"
"""What begins with it tells which client asks (`@clib/...`)."""


@dataclass(frozen=True)
class Step:
    """One operation and its parameters, decoded."""

    name: str
    params: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """What is to be done, and the name at the end of the path."""

    steps: tuple[Step, ...] = ()
    name: str | None = None


def target_of(path: str, wanting: frozenset[str] = frozenset()) -> Target:
    """What stands behind the id; `path` begins with its slash, or is empty.

    Of operations in `wanting` the part behind them is a parameter, also without a slash at its end. Raises
    `RequestInvalid` for what is no such path.
    """
    if len(path) > LONGEST:
        raise RequestInvalid(reason=f"The path is longer than {LONGEST} characters.")
    check_open(path)
    parts = [decoded(part) for part in path.split("/")[1:]]
    *whole, last = parts or [""]
    return _read([part for part in whole if part], last, wanting)


def _read(parts: Sequence[str], last: str, wanting: frozenset[str]) -> Target:
    steps: list[list[str]] = []
    opened = False
    for part in parts:
        if part == MARK:
            opened = True
        elif opened or (not steps and part in BARE):
            steps.append([part])
            opened = False
        elif steps:
            steps[-1].append(part)
        else:
            raise RequestInvalid(reason=f"`{part[:64]}` is no operation; they begin with `-/`, a name has no slash.")
    name = last or None
    if last and (opened or (steps and len(steps[-1]) == 1 and steps[-1][0] in wanting)):
        steps = [*steps, [last]] if opened else [*steps[:-1], [*steps[-1], last]]
        name = None
    if len(steps) > MOST_STEPS:
        raise RequestInvalid(reason=f"An address has at most {MOST_STEPS} operations, not {len(steps)}.")
    return Target(tuple(Step(step[0], tuple(step[1:])) for step in steps if not step[0].startswith(IGNORED)), name)
