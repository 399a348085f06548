from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import SettingsInvalid
from pipeline.settings import Settings, check_settings, demo_settings, load_settings

EXAMPLE = Path(__file__).parent.parent / "safelight.example.yaml"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str) -> Path:
    path = Path("s.yaml")
    path.write_text(text)
    return path


def complaints(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    return [str(complaint) for complaint in check_settings(written(text), environ or {})]


def load(text: str, environ: Mapping[str, str] | None = None) -> Settings:
    return load_settings(written(text), environ or {})


def test_defaults(tmp_path: Path) -> None:
    found = load_settings(environ={})
    assert found.redis_url == "redis://127.0.0.1:6379/0"
    assert found.data_dir == tmp_path / "data"
    assert found.flows_dir == tmp_path / "flows"
    assert found.storages == {"default": f"file://{tmp_path}/data/files"}
    assert found.projects == {}
    assert found.base_url == "http://127.0.0.1:8080"
    assert (found.upload_expiry, found.max_pixels, found.sandbox_memory) == (86_400, 100_000_000, 2**31)
    assert (found.sandbox_calls, found.sandbox_recycle_memory) == (1000, 2**29)
    assert (found.run_retention, found.event_retention, found.orphan_grace) == (30 * 86_400, 7 * 86_400, 86_400)
    assert found.output_retention is None


def test_units_paths_and_projects(tmp_path: Path) -> None:
    found = load(
        """
data_dir: there
max_pixels: 50MP
body_timeout: 1.5m
run_retention: 12h
output_retention: 90d
storages: {default: "file://./there/files", far: "s3://b/p?endpoint=http://127.0.0.1:1"}
projects:
  demo:
    auto_store: yes
    limits: {max_file_size: 5GiB}
    routes: {avatars: {max_size: 4MB, types: [image/*], storage: far}}
  bare:
"""
    )
    assert found.data_dir == tmp_path / "there"
    assert found.max_pixels == 50_000_000
    assert found.body_timeout == 90
    assert (found.run_retention, found.output_retention) == (12 * 3600, 90 * 86_400)
    assert found.storages["default"] == f"file://{tmp_path}/there/files"
    assert found.storages["far"] == "s3://b/p?endpoint=http://127.0.0.1:1"
    demo = found.projects["demo"]
    assert demo.id == "demo"
    assert demo.auto_store is True
    assert demo.limits.max_file_size == 5 * 2**30
    assert demo.routes["avatars"].max_size == 4_000_000
    assert found.projects["bare"].id == "bare"


def test_the_file_is_found_by_argument_variable_or_place() -> None:
    Path("safelight.yaml").write_text("port: 1")
    Path("named.yaml").write_text("port: 2")
    written("port: 3")
    assert load_settings(environ={}).port == 1
    assert load_settings(environ={"SAFELIGHT_CONFIG": "named.yaml"}).port == 2
    assert load_settings(Path("s.yaml"), {"SAFELIGHT_CONFIG": "named.yaml"}).port == 3
    with pytest.raises(SettingsInvalid, match=re.escape("gone.yaml FILE_UNREADABLE No such file or directory.")):
        load_settings(environ={"SAFELIGHT_CONFIG": "gone.yaml"})


def test_variables_win_over_the_file() -> None:
    found = load(
        "port: 1\nstorages: {default: 'file:///a'}\nprojects: {demo: {public_key: p}}\n",
        {
            "SAFELIGHT_PORT": "2",
            "SAFELIGHT_HOST": "",
            "SAFELIGHT_MAX_PIXELS": "5MP",
            "SAFELIGHT_WORKER_QUEUES": "bulk, default",
            "SAFELIGHT_ALLOWED_FORMATS": '["jpeg"]',
            "SAFELIGHT_STORAGES__EXTRA": "file:///b",
            "SAFELIGHT_PROJECTS__DEMO__LIMITS__DIRECT_UPLOAD": "7MB",
            "SAFELIGHT_URL": "http://x",
            "SAFELIGHT_API_KEY": "k",
            "OTHER": "x",
        },
    )
    assert (found.port, found.host, found.max_pixels) == (2, "127.0.0.1", 5_000_000)
    assert found.worker_queues == ("bulk", "default")
    assert found.allowed_formats == ("jpeg",)
    assert found.storages == {"default": "file:///a", "extra": "file:///b"}
    assert found.projects["demo"].public_key == "p"
    assert found.projects["demo"].limits.direct_upload == 7_000_000


def test_a_mapping_may_be_given_in_one_variable() -> None:
    found = load("", {"SAFELIGHT_PROJECTS": '{"demo": {"api_keys": ["k"]}}'})
    assert found.projects["demo"].api_keys == ("k",)


def test_values_from_variables() -> None:
    text = "redis_url: env:REDIS\nprojects: {demo: {secret_key: env:SECRET, api_keys: [env:KEY]}}"
    found = load(text, {"REDIS": "redis://r:1/0", "SECRET": "s", "KEY": "k"})
    assert found.redis_url == "redis://r:1/0"
    assert found.projects["demo"].secret_key == "s"
    assert found.projects["demo"].api_keys == ("k",)
    assert load("", {"SAFELIGHT_PORT": "env:P", "P": "81"}).port == 81


def test_a_missing_variable_is_named_with_its_place() -> None:
    assert complaints("port: 80\nprojects:\n  demo:\n    api_keys: [a, env:DEMO_KEY]\n", {"DEMO_KEYS": "x"}) == [
        "s.yaml:4:19 VARIABLE_MISSING The environment variable `DEMO_KEY` is not set. Did you mean `DEMO_KEYS`?"
    ]
    assert complaints("port: env:NOPE\n") == ["s.yaml:1:7 VARIABLE_MISSING The environment variable `NOPE` is not set."]


def test_misspelt_keys_at_every_depth() -> None:
    text = """
prot: 8081
projects:
  demo:
    api_keyes: [a]
    limits: {max_file_sise: 5GB}
    routes: {avatars: {tyeps: [image/*]}}
    webhooks: [{url: "http://x", event: []}]
"""
    assert complaints(text) == [
        "s.yaml:2:1 KEY_UNKNOWN There is no key `prot` here. Did you mean `port`?",
        "s.yaml:5:5 KEY_UNKNOWN There is no key `api_keyes` here. Did you mean `api_keys`?",
        "s.yaml:6:14 KEY_UNKNOWN There is no key `max_file_sise` here. Did you mean `max_file_size`?",
        "s.yaml:7:24 KEY_UNKNOWN There is no key `tyeps` here. Did you mean `types`?",
        "s.yaml:8:34 KEY_UNKNOWN There is no key `event` here. Did you mean `events`?",
    ]


def test_wrong_values() -> None:
    text = """
port: 99999
max_pixels: 5kg
log_format: jsn
redis_url: http://x
data_dir: [a]
storages: {default: "ftp://x"}
worker_queues: [bluk]
projects: {demo: {id: x, allowed_types: [image]}, "a b": {}}
"""
    assert complaints(text) == [
        "s.yaml:2:7 VALUE_INVALID `port` should be less than or equal to 65535.",
        "s.yaml:3:13 VALUE_INVALID `max_pixels`: write a quantity such as 100MP.",
        "s.yaml:4:13 VALUE_INVALID `log_format` should be 'console' or 'json'. Did you mean `json`?",
        "s.yaml:5:12 VALUE_INVALID `redis_url` should match pattern '^(redis|rediss|unix)://'.",
        "s.yaml:6:11 VALUE_INVALID `data_dir`: Input is not a valid path.",
        "s.yaml:7:21 VALUE_INVALID This is not the URL of a storage. "
        "Write file:///folder or s3://bucket/prefix?endpoint=...",
        "s.yaml:8:17 VALUE_INVALID `worker_queues[0]` should be 'interactive', 'default' or 'bulk'. "
        "Did you mean `bulk`?",
        "s.yaml:9:19 KEY_UNKNOWN There is no key `id` here; the key above is the project's id.",
        "s.yaml:9:42 VALUE_INVALID `image` is not a media type. Write image/* or image/png.",
        "s.yaml:9:51 NAME_INVALID `a b` cannot be the id of a project. Letters, digits, `_` and `-`, 64 at most.",
    ]


def test_limits_that_nothing_can_keep_to() -> None:
    text = """
projects:
  demo:
    limits: {min_file_size: 2MB, max_file_size: 1MB}
    routes:
      thin: {min_width: 100, max_width: 99}
      fine: {min_width: 100, max_width: 100, min_size: 1KB, max_size: 1KB}
      thick: {min_pixels: 2MP, max_pixels: 1MP}
      none: {max_height: 0}
"""
    nothing = "so that nothing can come in."
    assert complaints(text) == [
        f"s.yaml:4:13 VALUE_INVALID `limits`: `min_file_size` is more than `max_file_size`, {nothing}",
        f"s.yaml:6:13 VALUE_INVALID `thin`: `min_width` is more than `max_width`, {nothing}",
        f"s.yaml:8:14 VALUE_INVALID `thick`: `min_pixels` is more than `max_pixels`, {nothing}",
        "s.yaml:9:26 VALUE_INVALID `max_height` should be greater than or equal to 1.",
    ]


@pytest.mark.parametrize(
    ("scanner", "sound"),
    [
        ("tcp://127.0.0.1:3310", True),
        ("tcp://[::1]:3310", True),
        ("tcp://clamd:3310", True),
        ("unix:///run/clamav/clamd.ctl", True),
        ("tcp://clamd", False),
        ("/run/clamav/clamd.ctl", False),
        ("unix://run/clamd", False),
        ("http://clamd:3310", False),
    ],
)
def test_where_a_scanner_listens(scanner: str, sound: bool) -> None:
    text = f'scanner: "{scanner}"\nprojects: {{demo: {{scan: true}}}}\n'
    assert (complaints(text) == []) is sound


def test_a_project_that_is_to_be_scanned_needs_a_scanner() -> None:
    assert complaints("projects:\n  demo: {scan: true}\n") == [
        "s.yaml:2:16 SCANNER_MISSING There is no virus scanner to scan files. "
        "Set `scanner` to where clamd listens, such as unix:///run/clamav/clamd.ctl."
    ]
    assert complaints("projects:\n  demo: {scan: true}\n", {"SAFELIGHT_SCANNER": "tcp://127.0.0.1:3310"}) == []


def test_unknown_storages() -> None:
    text = """
storages: {default: "file:///a", media: "file:///b"}
projects:
  one: {storage: medai}
  two: {routes: {r: {storage: deflaut}}}
"""
    assert complaints(text) == [
        "s.yaml:4:18 STORAGE_UNKNOWN There is no storage `medai`. Did you mean `media`?",
        "s.yaml:5:31 STORAGE_UNKNOWN There is no storage `deflaut`. Did you mean `default`?",
    ]
    assert complaints("storages: {media: 'file:///b'}\nprojects:\n  one: {}\n") == [
        "s.yaml:3:3 STORAGE_UNKNOWN There is no storage `default`. Known: media."
    ]


def test_one_key_belongs_to_one_project() -> None:
    assert complaints("projects:\n  a: {api_keys: [k]}\n  b: {api_keys: [j, k]}\n") == [
        "s.yaml:3:21 KEY_NOT_UNIQUE The project `a` has the same key; a key belongs to one project."
    ]


def test_faults_of_variables_name_the_variable() -> None:
    found = complaints(
        "port: 1\n",
        {
            "SAFELIGHT_PROT": "1",
            "SAFELIGHT_PORT": "x",
            "SAFELIGHT_PORT__X": "1",
            "SAFELIGHT_STORAGES__DEFAULT": "ftp://x",
            "SAFELIGHT_PROJECTS__DEMO__STORAGE": "nope",
        },
    )
    assert found == [
        "SAFELIGHT_PORT VALUE_INVALID `port` should be a valid integer, unable to parse string as an integer.",
        "SAFELIGHT_PORT__X KEY_UNKNOWN There is no setting of this name. Did you mean `SAFELIGHT_PORT`?",
        "SAFELIGHT_PROJECTS__DEMO__STORAGE STORAGE_UNKNOWN There is no storage `nope`. Known: default.",
        "SAFELIGHT_PROT KEY_UNKNOWN There is no setting of this name. Did you mean `SAFELIGHT_PORT`?",
        "SAFELIGHT_STORAGES__DEFAULT VALUE_INVALID This is not the URL of a storage. "
        "Write file:///folder or s3://bucket/prefix?endpoint=...",
    ]


def test_broken_variables() -> None:
    assert complaints("", {"SAFELIGHT_PROJECTS": "{a: ["})[0].startswith("SAFELIGHT_PROJECTS VALUE_INVALID ")


@pytest.mark.parametrize(("text", "place"), [("a: [", "1:5"), ("- a", "1:1"), ("port: 1\nport: 2", "2:1")])
def test_documents_that_are_no_settings(text: str, place: str) -> None:
    assert complaints(text)[0].startswith(f"s.yaml:{place} ")


def test_not_text() -> None:
    Path("s.yaml").write_bytes(b"\xff\xfe")
    assert [complaint.code for complaint in check_settings(Path("s.yaml"), {})] == ["YAML_INVALID"]


def test_load_tells_every_complaint() -> None:
    with pytest.raises(SettingsInvalid) as caught:
        load("prot: 1\nprt: 2\n")
    assert caught.value.message.splitlines() == [str(one) for one in caught.value.facts["complaints"]]
    assert [(one.line, one.column) for one in caught.value.facts["complaints"]] == [(1, 1), (2, 1)]


def test_shown_hides_secrets() -> None:
    found = load(
        """
redis_url: "redis://user:verysecret@h:1/0"
storages: {default: "s3://b/p?endpoint=http://127.0.0.1:8333&region=x&secret_key=abcdefgh"}
projects:
  demo:
    public_key: seen-by-all
    secret_key: abcdefghij
    api_keys: [uk_live_0123456789, abc]
    webhooks: [{url: "https://u:pw@example.com/h", secret: whsec_12345678}]
"""
    )
    shown = found.shown()
    demo = shown["projects"]["demo"]
    assert shown["redis_url"] == "redis://user:****@h:1/0"
    assert shown["storages"] == {"default": "s3://b/p?endpoint=http://127.0.0.1:8333&region=x&secret_key=abcd****"}
    assert (demo["public_key"], demo["secret_key"], demo["api_keys"]) == (
        "seen-by-all",
        "abcd****",
        ["uk_l****", "****"],
    )
    assert demo["webhooks"][0]["secret"] == "whse****"
    assert demo["webhooks"][0]["url"] == "https://u:****@example.com/h"
    text = json.dumps(shown)
    assert not any(secret in text for secret in ("verysecret", "efgh", "0123456789", "12345678", ":pw@"))


def test_secrets_of_a_project_are_named_read_from_the_environment_and_never_shown() -> None:
    text = "projects: {demo: {secrets: {removal: env:REMOVAL_KEY, secret: abcdefgh, short: abc}}}"
    found = load(text, {"REMOVAL_KEY": "rm-0123456789"})
    secrets = found.projects["demo"].secrets
    assert secrets == {"removal": "rm-0123456789", "secret": "abcdefgh", "short": "abc"}
    hidden = {"removal": "rm-0****", "secret": "abcd****", "short": "****"}
    assert found.shown()["projects"]["demo"]["secrets"] == hidden
    assert "0123456789" not in repr(found) and "abcdefgh" not in repr(found.projects)
    [complaint] = complaints("projects: {demo: {secrets: {a b: x}}}")
    assert "a b" in str(complaint)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"public_url": "https://files.example.com/"}, "https://files.example.com"),
        ({"host": "0.0.0.0", "port": 9}, "http://127.0.0.1:9"),
        ({"host": "::1", "port": 9}, "http://[::1]:9"),
    ],
)
def test_base_url(given: dict[str, Any], url: str) -> None:
    assert Settings(**given).base_url == url


def test_settings_do_not_read_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFELIGHT_PORT", "1")
    assert Settings().port == 8080
    assert load_settings(environ={}).port == 8080
    assert load_settings().port == 1


def test_demo_settings_are_made_once() -> None:
    path = demo_settings(Path("data"))
    assert path == Path("data/safelight.yaml").absolute()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    demo = load_settings(path, {}).projects["demo"]
    assert re.fullmatch(r"uk_live_[0-9a-f]{32}", demo.api_keys[0])
    assert demo.public_key and demo.secret_key
    assert demo_settings(Path("data")).read_text() == text
    assert demo_settings(Path("other")).read_text() != text
    assert [found.name for found in path.parent.iterdir()] == ["safelight.yaml"]


def test_the_example_is_sound_and_says_the_defaults() -> None:
    assert check_settings(EXAMPLE, {}) == []
    found, defaults = load_settings(EXAMPLE, {}), Settings()
    different = {name for name in Settings.model_fields if getattr(found, name) != getattr(defaults, name)}
    assert different == {"projects"}
    text = EXAMPLE.read_text()
    assert [name for name in Settings.model_fields if not re.search(rf"^(# )?{name}:", text, re.MULTILINE)] == []


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["env:X", "5MB", "file://a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["projects", "storages", "demo", "default", "routes", "limits", "port", "api_keys", "id"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(list(Settings.model_fields)), VALUES, max_size=5))
def test_random_settings_are_taken_or_complained_of(value: dict[str, Any]) -> None:
    try:
        load(json.dumps(value))
    except SettingsInvalid as error:
        assert error.facts["complaints"]
