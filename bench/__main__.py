"""`python -m bench [PREFIX]`: run the benchmarks whose names begin with PREFIX."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable

from bench.delivery import DELIVERY
from bench.engine import ENGINE
from bench.flowing import FLOWING
from bench.ingest import INGEST
from bench.queue import QUEUE
from bench.results import Result, keep, show

BENCHMARKS: dict[str, Callable[[], AsyncIterator[Result]]] = {
    **ENGINE,
    **QUEUE,
    **INGEST,
    **DELIVERY,
    **FLOWING,
}


async def run(prefix: str) -> list[Result]:
    found = []
    for name, benchmark in BENCHMARKS.items():
        if name.startswith(prefix):
            print(f"{name} ...", flush=True)
            results = [result async for result in benchmark()]
            keep(results)
            found += results
    return found


def main() -> None:
    results = asyncio.run(run(sys.argv[1] if len(sys.argv) > 1 else ""))
    if not results:
        sys.exit(f"no benchmark begins with that name; there are: {', '.join(BENCHMARKS)}")
    show(results)


if __name__ == "__main__":
    main()
