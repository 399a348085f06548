"""The schedule of a flow: what may be written, what is wrong with it and where, and what the schema says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from jsonschema import Draft7Validator

from pipeline.documents import read_document
from pipeline.errors import FlowInvalid
from pipeline.graph.flow import Flow, load_flow
from pipeline.graph.schedule import Schedule
from pipeline.graph.schema import flow_schema

NODES = """
params: {size: {type: integer, minimum: 3, default: 9}}
nodes:
  photos: {type: input, many: true}
  mark: {type: input, required: false}
  out: {type: save, from: photos, path: "{file.id}.webp", keep: true}
  seen: {type: info, from: mark}
"""


def loaded(schedule: str, nodes: str = NODES) -> Flow:
    return load_flow("a", f"schedule: {schedule}\n{nodes}")


def complaints(schedule: str, nodes: str = NODES) -> list[str]:
    with pytest.raises(FlowInvalid) as refused:
        loaded(schedule, nodes)
    return [str(complaint) for complaint in refused.value.facts["complaints"]]


SOUND = [
    '{cron: "0 3 * * *", files: {}}',
    '{cron: "0 3 * * *", timezone: Europe/Berlin, files: {newer_than: 1d, types: [image/*], most: 5}}',
    '{cron: "*/5 8-17 * * MON-FRI", inputs: {photos: [a, b], mark: c}, params: {size: 4}, project: demo}',
]
NODES = NODES.replace(", keep: true", "")


@pytest.mark.parametrize("schedule", SOUND)
def test_a_sound_schedule_is_taken_and_fits_the_schema(schedule: str) -> None:
    assert loaded(schedule).schedule is not None
    document = read_document(f"schedule: {schedule}\n{NODES}", "a.yaml").value
    assert list(Draft7Validator(flow_schema()).iter_errors(document)) == []


def test_a_plain_line_is_in_utc() -> None:
    nodes = NODES.replace("many: true", "many: true, required: false")
    flow = loaded("0 3 * * *", nodes)
    assert flow.schedule == Schedule(cron="0 3 * * *", timezone="UTC")
    document = read_document(f"schedule: 0 3 * * *\n{nodes}", "a.yaml").value
    assert list(Draft7Validator(flow_schema()).iter_errors(document)) == []
    assert load_flow("a", nodes).schedule is None


@pytest.mark.parametrize(
    ("schedule", "complaint"),
    [
        ("0 3 * *", "a.yaml:1:11 VALUE_INVALID `schedule`: a cron line has five fields"),
        ("{cron: 61 3 * * *}", "a.yaml:1:18 VALUE_INVALID `cron`: this is no cron line (bad minute)."),
        ("{cron: 0 0 * * * *}", "a.yaml:1:18 VALUE_INVALID `cron`: a cron line has five fields"),
        ("{cron: 0 0 30 2 *}", "a.yaml:1:18 VALUE_INVALID `cron`: this is no cron line (bad day-of-month)."),
        ('{cron: "* * */20 * 1L"}', "a.yaml:1:18 VALUE_INVALID `cron`: this day never comes."),
        (
            "{cron: 0 3 * * *, timezone: Europe/Berlim}",
            "a.yaml:1:39 VALUE_INVALID `timezone`: there is no such time zone; `Europe/Berlin` is one.",
        ),
        ("{corn: 0 3 * * *}", "a.yaml:1:12 KEY_UNKNOWN There is no key `corn` here. Did you mean `cron`?"),
        ("{cron: 0 3 * * *}", "a.yaml:1:1 INPUT_MISSING Nobody sends the input `photos` a file"),
        (
            "{cron: 0 3 * * *, params: {seize: 1}, files: {}}",
            "a.yaml:1:38 PARAM_UNKNOWN The flow has no param `seize`.",
        ),
        ("{cron: 0 3 * * *, params: {size: 1}, files: {}}", "a.yaml:1:44 VALUE_INVALID The param `size` should be"),
        ("{cron: 0 3 * * *, files: {into: mark}}", "a.yaml:1:43 INPUT_NOT_MANY The input `mark` takes one file only"),
        ("{cron: 0 3 * * *, files: {into: x}}", "a.yaml:1:43 INPUT_UNKNOWN The flow has no input `x`."),
        ("{cron: 0 3 * * *, files: {most: 0}}", "a.yaml:1:43 VALUE_INVALID `most` should be"),
        ("{cron: 0 3 * * *, files: {types: [images]}}", "a.yaml:1:45 VALUE_INVALID "),
        ("{cron: 0 3 * * *, files: {}, inputs: {mark: [a, b]}}", "a.yaml:1:55 INPUT_NOT_MANY"),
        ("{cron: 0 3 * * *, files: {}, inputs: {marc: a}}", "a.yaml:1:49 INPUT_UNKNOWN The flow has no input `marc`."),
    ],
)
def test_a_fault_is_told_where_it_is(schedule: str, complaint: str) -> None:
    assert [found[: len(complaint)] for found in complaints(schedule)][-1] == complaint


def test_a_required_param_has_to_be_given() -> None:
    nodes = NODES.replace(", default: 9", "")
    (found,) = complaints('{cron: "0 3 * * *", files: {}}', nodes)
    assert found.startswith("a.yaml:1:1 VALUE_INVALID The param `size` is required")
    assert loaded('{cron: "0 3 * * *", files: {}, params: {size: 3}}', nodes)


def test_files_need_one_input_that_takes_many() -> None:
    two = NODES.replace("mark: {type: input,", "mark: {type: input, many: true,")
    two = two.replace("{type: info, from: mark}", '{type: save, from: mark, path: "m/{file.id}.webp"}')
    (found,) = complaints('{cron: "0 3 * * *", files: {}}', two)
    assert "Say `into: <input>`." in found
    flow = loaded('{cron: "0 3 * * *", files: {into: photos}}', two)
    assert flow.schedule and flow.schedule.fed(flow.inputs) == "photos"


def local(schedule: Schedule, start: datetime, count: int) -> list[str]:
    found, zone = [], ZoneInfo(schedule.timezone)
    for _ in range(count):
        tick = schedule.next_after(start)
        assert tick is not None and tick > start and tick.tzinfo is UTC
        found.append(tick.astimezone(zone).strftime("%d %H:%M%z"))
        start = tick
    return found


def test_a_time_that_is_skipped_comes_after_the_gap_and_one_shown_twice_once() -> None:
    nightly = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    spring = local(nightly, datetime(2026, 3, 28, tzinfo=UTC), 3)
    assert spring == ["28 02:30+0100", "29 03:00+0200", "30 02:30+0200"]
    autumn = local(nightly, datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert autumn == ["25 02:30+0200", "26 02:30+0100"]
    between = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # the clock shows 02:10 for the second time
    assert local(nightly, between, 1) == ["26 02:30+0100"]


def test_an_hourly_line_keeps_its_hour_when_the_clock_is_moved() -> None:
    hourly = Schedule(cron="0 * * * *", timezone="Europe/Berlin")
    assert local(hourly, datetime(2026, 10, 24, 23, 30, tzinfo=UTC), 3) == [
        "25 02:00+0200",
        "25 02:00+0100",
        "25 03:00+0100",
    ]
    assert local(hourly, datetime(2026, 3, 29, 0, 30, tzinfo=UTC), 2) == ["29 03:00+0200", "29 04:00+0200"]


def test_the_flow_in_the_docs_is_sound() -> None:
    page = (Path(__file__).parents[2] / "docs" / "flows.md").read_text().partition("## On a schedule\n")[2]
    flow = load_flow("nights", re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0])
    assert flow.schedule and flow.schedule.fed(flow.inputs) == "photos"
