"""The house keeps its own rules: floors, indexes that agree with files, and words that are not used."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("workers/**/*.py")])

ONLY_IN = {
    "aiohttp.web": ["pipeline/api/"],
    "arq": ["pipeline/jobs.py", "workers/"],
    "redis": [
        "pipeline/records/",
        "pipeline/events.py",
        "pipeline/hearing.py",
        "pipeline/scripting.py",
        "pipeline/flows.py",
        "pipeline/core.py",
        "workers/",
    ],
    "pyvips": ["pipeline/nodes/", "pipeline/imaging/"],
    "PIL": ["pipeline/nodes/", "pipeline/imaging/"],
    "workers": ["workers/"],
}
ROOMS = {"pipeline/nodes": {"base"}}
REFUSED_ROOMS = {"utils", "common", "helpers", "services", "managers"}


@cache
def imports(path: Path) -> Sequence[str]:
    return [*_imports(path)]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", ONLY_IN)
def test_a_library_is_imported_only_where_it_belongs(name: str) -> None:
    trespassers = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if any(found == name or found.startswith(f"{name}.") for found in imports(path))
        and not any(str(path.relative_to(ROOT)).startswith(room) for room in ONLY_IN[name])
    ]
    assert trespassers == []


def test_no_dialect_stands_on_another_vendors() -> None:
    room = ROOT / "pipeline/api/dialects"
    vendors = {path.stem for path in room.iterdir() if path.stem.isalpha()} - {"native"}
    assert len(vendors) == 6
    trespassers = [
        f"{path.relative_to(room)}: {found}"
        for path in room.glob("*/**/*.py")
        for found in imports(path)
        for vendor in vendors - {path.relative_to(room).parts[0]}
        if f"{found}.".startswith(f"pipeline.api.dialects.{vendor}.")
    ]
    assert trespassers == []


def test_every_node_file_is_in_the_index_and_has_its_name() -> None:
    from pipeline.nodes import INDEX

    files = {path.stem for path in (ROOT / "pipeline/nodes").glob("*.py")} - {"__init__", "base"}
    assert files == set(INDEX)
    for name, cls in INDEX.items():
        assert cls.model_fields["type"].annotation.__args__ == (name,)  # type: ignore[union-attr]
        assert cls.__doc__ and cls.__doc__.strip().endswith("."), name


def test_every_node_parameter_is_described() -> None:
    from pipeline.nodes import INDEX

    plain = {"type", "operator", "width", "height", "weight", "align"}
    silent = [f"{name}.{field}" for name, cls in INDEX.items() for field, spec in cls.model_fields.items()
              if not spec.description and field not in plain]  # fmt: skip
    assert silent == []


def test_no_room_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in SOURCES if path.stem in REFUSED_ROOMS] == []


def test_the_tree_holds_no_path_of_a_machine_and_stays_small() -> None:
    files = [path for path in ROOT.rglob("*") if path.is_file() and not set(path.parts) & IGNORED]
    assert sum(path.stat().st_size for path in files) < 20_000_000
    texts = [path for path in files if path.suffix in {".py", ".md", ".yaml", ".toml", ".txt"}]
    assert [str(path) for path in texts if re.search(r"/(root|work)/[a-z]", path.read_text())] == []


IGNORED = {".git", ".venv", "__pycache__", "data", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis",
           "node_modules", ".import_linter_cache", ".bench", ".clients", ".corpus"}  # fmt: skip
