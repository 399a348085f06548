"""The board, the alerts and the examples of deploy/ name only what there is."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML
from typer.main import get_command

from pipeline.api.metrics import COUNTERS, HISTOGRAMS, Everywhere, Metrics
from pipeline.cli import app
from pipeline.errors import every_error
from pipeline.model import WorkerBeat, now
from pipeline.records.series import Depth
from pipeline.records.tallies import Tally
from pipeline.settings import Settings, load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
WORDS = {
    *("sum", "max", "min", "count", "by", "and", "or", "topk", "vector", "histogram_quantile"),
    *("rate", "increase", "deriv", "le", "inf", "on", "unless", "offset"),
}


@pytest.fixture(scope="module")
def labels() -> dict[str, set[str]]:
    """Every sample there can be on the page, with the names of its labels."""
    counted = Tally({(word, *labels): 1 for _, word, _, labels in COUNTERS})
    counted.update({(word, "x", place): 1 for _, word, _, _ in HISTOGRAMS for place in ("3", "us")})
    none = dict.fromkeys(("queued", "running", "waiting"), 0)
    beat = WorkerBeat(id="w", host="h", pid=1, version="1", queues=("default",), slots=1, started_at=now())
    found = Everywhere(counted, [Depth("default", 0, 0, False, none, none)], {"w": True}, [beat], 0, 0, 0)
    metrics = Metrics()
    metrics.requests.labels("GET", "/", 200).inc()
    metrics.request_seconds.labels("GET", "/").observe(0.1)
    names: dict[str, set[str]] = {"up": {"job", "instance"}}  # what Prometheus tells of those it asks
    for family in text_string_to_metric_families(metrics.text(found).decode()):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


def families(labels: dict[str, set[str]]) -> set[str]:
    """The names under which people know what the house measures."""
    ours = {name for name in labels if name.startswith("safelight_") and not name.endswith("_created")}
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in ours}


def loaded(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def alerts() -> Iterator[dict[str, Any]]:
    for group in loaded(DEPLOY / "prometheus" / "alerts.yaml")["groups"]:
        yield from group["rules"]


def board() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((DEPLOY / "grafana" / "safelight.json").read_text())
    return read


def check(expression: str, labels: dict[str, set[str]]) -> None:
    """Fail unless the expression is balanced and names only samples, their labels, and words of the language."""
    for pair in ("()", "[]", "{}"):
        assert expression.count(pair[0]) == expression.count(pair[1]), expression
    bare = re.sub(r'"[^"]*"', "", re.sub(r"\[[^\]]*\]", "", expression))
    words = set(re.findall(r"(?<![\w.])[a-zA-Z_]\w*", bare)) - WORDS
    metrics = words & set(labels)
    assert metrics, expression
    allowed = set().union(*(labels[name] for name in metrics))
    assert words - metrics <= allowed, (expression, words - metrics - allowed)


def test_the_check_finds_what_is_wrong(labels: dict[str, set[str]]) -> None:
    check('sum by (queue) (rate(safelight_runs_ended_total{outcome="failed"}[5m])) > 0', labels)
    for wrong in ("safelight_nothing", "rate(safelight_runs_ended_total[5m]", "sum by (flow) (safelight_queue_jobs)"):
        with pytest.raises(AssertionError):
            check(wrong, labels)


def test_the_board_names_what_is_measured(labels: dict[str, set[str]]) -> None:
    panels = board()["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels) > 10
    for panel in panels:
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            check(target["expr"], labels)
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) - {"instance"}
            assert all(re.search(rf"\b{label}\b", target["expr"]) for label in shown), target


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_alerts_name_what_is_measured(labels: dict[str, set[str]]) -> None:
    rules = list(alerts())
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    codes = {error.code for error in every_error()}
    for rule in rules:
        check(rule["expr"], labels)
        assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"].endswith(".")
        for pattern in re.findall(r'code=~"([^"]*)"', rule["expr"]):
            for name in pattern.split("|"):
                assert any(re.fullmatch(name, code) for code in codes), name


def test_every_alert_is_tried_both_ways() -> None:
    tried: dict[str, set[bool]] = {}
    for test in loaded(DEPLOY / "prometheus" / "alerts.test.yaml")["tests"]:
        for case in test["alert_rule_test"]:
            tried.setdefault(case["alertname"], set()).add(bool(case.get("exp_alerts")))
    assert tried == {rule["alert"]: {True, False} for rule in alerts()}


def test_the_alerts_ask_for_the_job_that_is_scraped() -> None:
    jobs = {job["job_name"] for job in loaded(DEPLOY / "prometheus" / "prometheus.yaml")["scrape_configs"]}
    asked = set(re.findall(r'job="([^"]*)"', " ".join(rule["expr"] for rule in alerts())))
    assert asked and asked <= jobs


def test_an_image_is_made_of_what_is_installed_and_nothing_else() -> None:
    root = DEPLOY.parent
    kept = [line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((root / path).exists() for path in kept)
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert needed == set(kept)


def test_everything_measured_about_the_house_is_watched(labels: dict[str, set[str]]) -> None:
    watched = " ".join(target["expr"] for panel in board()["panels"] for target in panel["targets"])
    watched += " ".join(rule["expr"] for rule in alerts())
    known = families(labels)
    assert {name for name in known if name not in watched} == {"safelight_build_info"}


@pytest.mark.parametrize("name", ["compose.yaml", "hosts/store.yaml", "hosts/app.yaml"])
def test_examples_start_commands_there_are_with_settings_there_are(name: str) -> None:
    example = loaded(DEPLOY / name)
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]
    for service in example["services"].values():
        assert service.get("image")
        if service["image"] != "safelight":
            continue
        program, command, *_ = service["command"]
        assert program == "safelight" and command in commands
        ours = {
            key.removeprefix("SAFELIGHT_").lower() for key in service["environment"] if key.startswith("SAFELIGHT_")
        }
        assert ours <= {*Settings.model_fields, "config"}
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith(".") or ((DEPLOY / name).parent / source).exists(), volume


def test_the_examples_settings_are_sound(tmp_path: Path) -> None:
    lines = (DEPLOY / "example.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    environ = {name: value or f"secret-{name.lower()}" for name, value in given.items()}
    settings = load_settings(DEPLOY / "safelight.yaml", environ)
    assert settings.redis_url == environ["REDIS_URL"] and settings.storages["default"] == environ["STORAGE_URL"]
    assert settings.projects["demo"].api_keys == (environ["DEMO_API_KEY"],)
    for name in ("compose.yaml", "hosts/store.yaml", "hosts/app.yaml"):
        used = set(re.findall(r"\${(\w+)", (DEPLOY / name).read_text()))
        assert used <= set(given), name


def test_every_metric_is_in_the_docs(labels: dict[str, set[str]]) -> None:
    told = (DEPLOY.parent / "docs" / "operations.md").read_text()
    known = families(labels)
    assert {name for name in known if f"`{name}`" not in told} == set()
