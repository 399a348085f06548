"""How the suite's processes share its tests."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

LONG = ("tests/acceptance/", "tests/cli/", "tests/nodes/", "tests/golden/", "tests/workers/", "tests/imaging/")
"""What is begun first, so that no process works on alone at the end."""


class Shares(LoadFileScheduling):
    """A file stays in one process, and so do all files of one vendor, for they share a server."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        folder = file.rpartition("/")[0]
        return folder if folder.count("/") > 1 else file


def turn(nodeid: str) -> int:
    """When a test's turn comes, among those of other folders."""
    return next((turn for turn, folder in enumerate(LONG) if nodeid.startswith(folder)), len(LONG))
