"""What a benchmark found, printed as a table and kept in `bench/results.json` with the commit it was measured on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

FILE = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Result:
    """One figure beside its peer; `value` in `unit`, `ratio` against `versus`, the median of `runs` rounds."""

    name: str
    value: float
    unit: str
    versus: str
    ratio: float
    runs: int


def keep(results: Sequence[Result]) -> None:
    """Write the results into the file; names not measured this time stay as they were."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    known = {row["name"]: row for row in json.loads(FILE.read_text())} if FILE.exists() else {}
    for result in results:
        rounded = {"value": round(result.value, 4), "ratio": round(result.ratio, 3)}
        known[result.name] = asdict(result) | rounded | {"commit": commit}
    FILE.write_text(json.dumps([known[name] for name in sorted(known)], indent=2) + "\n")


def show(results: Sequence[Result]) -> None:
    table = Table("name", "value", "unit", "versus", "ratio", "runs", title="Safelight benchmarks")
    for result in results:
        figures = (f"{result.value:.4g}", result.unit, result.versus, f"{result.ratio:.3f}", str(result.runs))
        table.add_row(result.name, *figures)
    Console(width=120).print(table)
