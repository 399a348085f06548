"""What one `safelight run` asks for, on a server or here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """A flow, the words that name files, and what goes with them."""

    flow: str
    words: Sequence[str]
    params: Mapping[str, Any]
    metadata: Mapping[str, str]
    out: Path | None
    queue: str | None
    parallel: int

    @property
    def fields(self) -> dict[str, str]:
        """The form's fields beside the files."""
        fields = {"params": json.dumps(self.params), "metadata": json.dumps(self.metadata)}
        return fields | ({"queue": self.queue} if self.queue else {})
