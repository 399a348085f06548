"""The docs tell the truth: generated pages are as generated, and what the README says to type works."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs/build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_files_are_as_generated(build: ModuleType) -> None:
    stale = [path for path, text in build.generated().items() if (ROOT / path).read_text() != text]
    assert stale == [], "run `make docs`"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *[f"docs/{p.name}" for p in ROOT.glob("docs/*.md")]])
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def commands() -> list[str]:
    """Every command of the README that needs no server."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).splitlines()
    offline = [line for line in blocks if line.startswith(".venv/bin/safelight") and "--out results" not in line]
    return offline + [line for line in blocks if "--local" in line]


def test_the_readme_has_commands_to_try() -> None:
    assert len(commands()) >= 4


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_readme_works(line: str, tmp_path: Path) -> None:
    words = [str(Path(sys.executable).with_name("safelight")), *shlex.split(line)[1:]]
    words = [str(tmp_path / word) if word in ("results", "gallery.svg") else word for word in words]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")}
    done = subprocess.run(words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    if "--local" in words:
        assert len(list(tmp_path.rglob("*.webp"))) == 2


def test_the_flow_in_the_readme_is_sound() -> None:
    from pipeline.graph.flow import load_flow

    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert load_flow("product-images", text).inputs.keys() == {"photo"}
