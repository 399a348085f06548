"""A growing file is its chunks, however they are cut, wherever they are written and however little goes at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.storage import drafts
from pipeline.storage.drafts import BATCH, MOST, Draft

NOISE = Random(3).randbytes(4 * (BATCH + 1))
EDGES = st.sampled_from([1, BATCH - 1, BATCH, BATCH + 1]) | st.integers(0, BATCH)


@pytest.fixture(params=["from the loop", "in a thread"])
def where(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drafts, "SLOW", 1e9 if request.param == "from the loop" else -1.0)
        yield


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(EDGES, max_size=4), most=st.none() | st.integers(300_000, 2 * BATCH))
@example(sizes=[1] * (2 * MOST + 1), most=None)
@example(sizes=[BATCH // 2 + 1] * 4, most=BATCH // 2)
async def test_a_draft_is_its_chunks(where: None, tmp_path: Path, sizes: list[int], most: int | None) -> None:
    chunks, at = [], 0
    for size in sizes:
        chunks.append(NOISE[at : at + size])
        at += size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwritev", _little(most))
        draft = Draft.create(tmp_path / "draft")
        for chunk in chunks:
            await draft.take(chunk)
        draft.flush()
    draft.close()
    assert draft.position == sum(sizes)
    assert draft.path.read_bytes() == b"".join(chunks)


def _little(most: int | None) -> object:
    """pwritev(2) as it may be on a disk that fills up or under a signal: less than it was given."""
    written = os.pwritev

    def write(descriptor: int, chunks: Sequence[bytes], position: int) -> int:
        return written(descriptor, [b"".join(chunks)[:most]], position)

    return write
