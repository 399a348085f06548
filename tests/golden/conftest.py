"""The matrix, made once."""

from __future__ import annotations

import pytest

from tests.golden.matrix import Sample, make


@pytest.fixture(scope="session")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Every input of the golden suite."""
    return make(tmp_path_factory.mktemp("matrix"))
