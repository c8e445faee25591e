"""Where settings come from, in which order, and what is said of those that can't be right."""

from __future__ import annotations

import contextlib
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.changes import Limits
from gateway.configuration.keys import read_keys
from gateway.configuration.reading import BadConfiguration, read_configuration, read_value
from gateway.configuration.sources import Sources
from gateway.configuration.table import KNOWN_VARIABLES, SETTINGS
from gateway.configuration.toml_file import TomlFile
from gateway.errors import Misconfigured
from gateway.settings import Settings
from gateway.store.redis_keys import Retention
from gateway.transports.origins import Origins
from tests.gateway.configuration.places import SECRET, URL, Place


def test_nothing_is_enough(place: Place) -> None:
    """Everything but Redis and the keys has a default, and what is set to nothing is not set."""
    place.write("runcast.toml", "".join(f'{key} = ""\n' for key, one in SETTINGS.items() if one.in_file))

    for environ in ({}, dict.fromkeys(KNOWN_VARIABLES, ""), dict.fromkeys(KNOWN_VARIABLES, "  ")):
        configuration = place.read(dict.fromkeys(SETTINGS, ""), **environ)
        assert configuration.problems == ()
        assert configuration.written == {}
        assert configuration.settings(redis_url=URL) == Settings(redis_url=URL)


EXAMPLES: list[tuple[str, str, str, Any]] = [
    ("RUNCAST_HOST", "::1", "host", "::1"),
    ("HOST", "example.com", "host", "example.com"),
    ("RUNCAST_PORT", " 9000 ", "port", 9000),
    ("RUNCAST_PORT", "0", "port", 0),
    ("PORT", "65535", "port", 65535),
    ("RUNCAST_UDS", "/run/runcast.sock", "uds", "/run/runcast.sock"),
    ("RUNCAST_WORKERS", "4", "workers", 4),
    ("WEB_CONCURRENCY", "2", "workers", 2),
    ("RUNCAST_ALLOWED_ORIGINS", "https://a.example", "origins", Origins(frozenset({"https://a.example"}))),
    ("RUNCAST_RETENTION", "2d12h", "retention", Retention(finished_seconds=216_000.0)),
    ("RUNCAST_STREAM_RETENTION", "90", "retention", Retention(streams_seconds=90.0)),
    ("RUNCAST_METADATA_BYTES", "1000", "limits", Limits(metadata_bytes=1000)),
    ("RUNCAST_PAYLOAD_BYTES", "1KiB", "limits", Limits(payload_bytes=1024)),
    ("RUNCAST_STREAM_BYTES", "1GiB", "limits", Limits(stream_bytes=2**30)),
    ("RUNCAST_HEARTBEAT", "0.5", "heartbeat_seconds", 0.5),
    ("RUNCAST_DRAIN", "1m30s", "drain_seconds", 90.0),
    ("RUNCAST_SHAPE_HANDLE_GRACE", "2h", "shape_handle_grace_seconds", 7200.0),
    ("RUNCAST_SHAPE_HANDLE_GRACE", "0", "shape_handle_grace_seconds", 0.0),
    ("RUNCAST_REQUESTS_PER_SECOND", "0.5", "requests_per_second", 0.5),
    ("RUNCAST_METRICS_PORT", "9100", "metrics_port", 9100),
    ("RUNCAST_LOG_FORMAT", "JSON", "log_format", "json"),
    ("LOG_LEVEL", "WARN", "log_level", "warning"),
]


@pytest.mark.parametrize(("variable", "text", "field", "value"), EXAMPLES)
def test_each_variable_sets_what_it_names(place: Place, variable: str, text: str, field: str, value: object) -> None:
    """And nothing else."""
    changed: dict[str, Any] = {"redis_url": URL, field: value}

    assert place.read(**{variable: text, "REDIS_URL": URL}).settings() == Settings(**changed)


def test_the_order_is_flag_environment_secret_file_dotenv_toml_default(place: Place) -> None:
    """Taken away one by one, each uncovers the next."""
    in_file = place.write("url", "redis://file/0\n")
    place.write(".env", "RUNCAST_REDIS_URL=redis://dotenv/0\nRUNCAST_WORKERS=3\nRUNCAST_PORT=3\n")
    place.write("runcast.toml", 'redis_url = "redis://toml/0"\nport = 4\nworkers = 4\nheartbeat = 4\n')

    def source(key: str, configuration: Any) -> tuple[object, str]:
        return configuration.values[key], configuration.written[key].source

    full = place.read({"port": "1"}, development=True, RUNCAST_PORT="2", PORT="9", RUNCAST_REDIS_URL_FILE=in_file)
    assert source("port", full) == (1, "--port")
    assert source("redis_url", full) == ("redis://file/0", f"RUNCAST_REDIS_URL_FILE ({in_file})")
    assert source("workers", full) == (3, "RUNCAST_WORKERS in .env")
    assert source("heartbeat", full) == (4.0, "heartbeat in runcast.toml")
    assert "retention" not in full.written
    less = place.read(development=True, RUNCAST_PORT="2", PORT="9")
    assert source("port", less) == (2, "RUNCAST_PORT in the environment")
    assert source("redis_url", less) == ("redis://dotenv/0", "RUNCAST_REDIS_URL in .env")
    assert source("port", place.read(development=True, PORT="9")) == (9, "PORT in the environment")
    assert source("port", place.read(development=True)) == (3, "RUNCAST_PORT in .env")
    assert source("port", place.read()) == (4, "port in runcast.toml")
    assert source("redis_url", place.read()) == ("redis://toml/0", "redis_url in runcast.toml")


def test_a_name_of_ours_comes_before_what_everybody_knows(place: Place) -> None:
    """Platforms set the general one, people ours; in a file, too."""
    ours = place.write("url", "redis://ours/0")

    for name, text in (("RUNCAST_REDIS_URL", "redis://ours/0"), ("RUNCAST_REDIS_URL_FILE", ours)):
        assert place.read(**{name: text, "REDIS_URL": URL}).values["redis_url"] == "redis://ours/0"


def test_dotenv_is_for_development_and_not_about_the_app_beside_us(place: Place) -> None:
    """A PORT there is the port of somebody's app; in production the file does not count at all."""
    place.write(
        ".env", "PORT=3000\nHOST=0.0.0.0\nWEB_CONCURRENCY=8\nREDIS_URL=redis://mine/0\nexport RUNCAST_DRAIN='5s'\n"
    )

    found = place.read(development=True)

    assert {key: one.value for key, one in found.written.items() if key != "allowed_origins"} == {
        "redis_url": "redis://mine/0",
        "drain": "5s",
    }
    assert place.read().written == {}


def test_in_development_pages_of_all_origins_are_welcome_unless_it_is_said_otherwise(place: Place) -> None:
    assert place.read(development=True).settings(redis_url=URL).origins.any
    assert not place.read(development=True, RUNCAST_ALLOWED_ORIGINS="http://a").settings(redis_url=URL).origins.any
    assert not place.read().settings(redis_url=URL).origins.any


def test_the_file_is_found_by_flag_variable_name_and_in_pyproject(place: Place) -> None:
    """The first of them alone counts."""
    place.write("one.toml", "port = 1")
    place.write("two.toml", "port = 2")
    place.write("pyproject.toml", "[tool.runcast]\nport = 4\n[tool.other]\nport = 5\n")
    assert place.read().values == {"port": 4}
    place.write("runcast.toml", "port = 3")

    assert place.read({"config": "one.toml"}, RUNCAST_CONFIG="two.toml").values["port"] == 1
    assert place.read(RUNCAST_CONFIG="two.toml").values["port"] == 2
    assert place.read().values == {"port": 3}


def test_a_pyproject_without_us_in_it_is_nobody_s_business(place: Place) -> None:
    for text in ("[project]\nname = 'x'\n", "[tool.ruff]\n", ""):
        place.write("pyproject.toml", text)
        assert place.read().problems == ()


def test_values_in_toml_have_their_own_kinds(place: Place) -> None:
    """Numbers, lists and switches as they are; text is read as a variable would be."""
    place.write(
        "runcast.toml",
        'embedded = true\nport = 1\nworkers = "2"\nheartbeat = 0.25\nmetadata_bytes = "1KiB"\npayload_bytes = 5\n'
        'allowed_origins = ["https://a.example", "https://*.b.example"]\nrequests_per_second = 1e3\n',
    )

    configuration = place.read()

    assert configuration.problems == ()
    assert configuration.values == {
        "embedded": True,
        "port": 1,
        "workers": 2,
        "heartbeat": 0.25,
        "metadata_bytes": 1024,
        "payload_bytes": 5,
        "allowed_origins": Origins.parse("https://a.example, https://*.b.example"),
        "requests_per_second": 1000.0,
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot = 1", "prot in runcast.toml is not a setting; did you mean port?"),
        ("[server]\nport = 1", "server in runcast.toml is not a setting"),
        ("config = 'x'", "config in runcast.toml is not a setting"),
        ("port = true", "port in runcast.toml is text or a number, not a boolean"),
        ("port = [1]", "port in runcast.toml is text or a number, not a list"),
        ("port = {a = 1}", "port in runcast.toml is text or a number, not a table"),
        ("port = 2026-01-01", "port in runcast.toml is text or a number, not a time"),
        ("port = 70000", "port in runcast.toml is a whole number from 0 to 65535, not 70000"),
        ("port = -1", "port in runcast.toml is a whole number from 0 to 65535, not '-1'"),
        ("embedded = 1", "embedded in runcast.toml is true or false, not a number"),
        ("allowed_origins = [1]", "allowed_origins in runcast.toml is text or a number, not a list"),
        ("port = ", "runcast.toml: it is not valid TOML: end of document"),
        ("port 1", "runcast.toml: it is not valid TOML: line 1, column 6"),
        ("environments = 1", "runcast.toml, environments: a table is expected"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_by_its_key(place: Place, text: str, told: str) -> None:
    """With what it is, and what would be right."""
    place.write("runcast.toml", text)

    assert place.read().problems == (told,)


def test_a_file_that_is_named_must_be_there(place: Place) -> None:
    """Only runcast.toml may be missing."""
    assert place.read({"config": "none.toml"}).problems == ("none.toml: there is no such file; --config names it",)


NO_NUMBERS = ["x", "-1", "+1", "1.5", "1e3", "1_000", "0x10", "\u0661", "9" * 400, "1 2", "one", "\0"]
NO_SIZES = [*NO_NUMBERS, "0", "256KB", "5M"]
WRONG = {
    "RUNCAST_HOST": ["http://0.0.0.0", "0.0.0.0/0", "a b", "a\nb"],
    "HOST": ["http://localhost:80"],
    "RUNCAST_PORT": [*NO_NUMBERS, "65536", "8787/tcp"],
    "PORT": [*NO_NUMBERS, "99999"],
    "RUNCAST_UDS": ["x" * 104, "a\nb"],
    "RUNCAST_WORKERS": [*NO_NUMBERS, "0"],
    "WEB_CONCURRENCY": [*NO_NUMBERS, "0"],
    "RUNCAST_EMBEDDED": ["maybe", "2"],
    "RUNCAST_REDIS_URL": ["localhost:6379", "http://localhost", "redis", "//[", "redis://["],
    "RUNCAST_ENVIRONMENT": ["a b", "-a", "x" * 129],
    "RUNCAST_ALLOWED_ORIGINS": ["app.example.com", "https://a.example, nonsense", "https://a.*.example", "null"],
    "RUNCAST_RETENTION": ["x", "0", "-1h", "1y", "1h!", "9" * 400, "h", "1.5h"],
    "RUNCAST_METADATA_BYTES": NO_SIZES,
    "RUNCAST_STREAM_CHUNK_BYTES": NO_SIZES,
    "RUNCAST_CHANGES_PER_SECOND": ["x", "0", "-1", "nan", "inf", "1e3"],
    "RUNCAST_LOG_FORMAT": ["xml"],
    "LOG_LEVEL": ["loud", "TRACE"],
    "RUNCAST_METRICS_PORT": ["0", "x"],
}


@pytest.mark.parametrize(("variable", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_a_wrong_value_is_told_by_the_name_of_its_variable(place: Place, variable: str, text: str) -> None:
    """The one that was set, not another; with what it says, shortened, and what would be right."""
    with pytest.raises(Misconfigured) as refused:
        place.read(**{variable: text, "REDIS_URL": URL}).settings()

    assert re.match(rf"{variable} in the environment\b", str(refused.value))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 250


@given(st.sampled_from(sorted(WRONG)), st.text())
def test_any_value_is_a_setting_or_a_problem(variable: str, text: str) -> None:
    """Nothing else comes out, whatever stands in the environment."""
    configuration = read_configuration(Sources(environ={variable: text, "REDIS_URL": URL}))

    if configuration.problems:
        with pytest.raises(BadConfiguration, match=f"^{variable}"):
            configuration.settings()
    else:
        configuration.settings()


@given(
    st.dictionaries(
        st.sampled_from([*SETTINGS, "environments"]),
        st.recursive(
            st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)
def test_any_toml_is_settings_or_problems(table: dict[str, Any]) -> None:
    """Whatever kinds its values have."""
    file = TomlFile("runcast.toml", table)
    for setting in SETTINGS.values():
        found = file.find(setting)
        if found is not None:
            with contextlib.suppress(Misconfigured):
                read_value(setting, found)
    read_keys([file], None)


def test_every_problem_is_told_at_once(place: Place) -> None:
    """Nobody wants to start ten times to hear of ten mistakes."""
    place.write(
        "runcast.toml", 'prot = 1\nretention = "2y"\n[environments.a]\nsecret_key = "short"\n[environments.b]\n'
    )

    configuration = place.read({"workers": "0"}, RUNCAST_PORT="x", RUNCAST_HOST="a b", RUNCAST_REDIS_URL="x")

    assert len(configuration.problems) == 8
    with pytest.raises(BadConfiguration) as refused:
        configuration.settings()
    assert refused.value.problems == configuration.problems


def test_a_redis_url_is_never_repeated(place: Place) -> None:
    """There may be a password in it, wherever the mistake is."""
    place.write("runcast.toml", 'redis_url = "pa55word"')
    for configuration in (
        place.read(),
        place.read(REDIS_URL="pa55word@host"),
        place.read(REDIS_URL="redis://x", REDIS_URL_FILE=place.write("url", "pa55word")),
    ):
        assert len(configuration.problems) == 1
        assert "pa55word" not in configuration.problems[0] + repr(configuration)


def test_a_variable_that_looks_like_ours_is_told_with_the_one_that_was_meant(place: Place) -> None:
    """It is no problem, for it may be somebody else's."""
    place.write(".env", "RUNCAST_RETENTON=1h")
    configuration = place.read(development=True, RUNCAST_PROT="1", RUNCAST_FOO="2", OTHER="3", RUNCAST_UDP_PORT="1")

    assert configuration.problems == ()
    assert configuration.unknown == (
        "RUNCAST_FOO in the environment is not a setting",
        "RUNCAST_PROT in the environment is not a setting; did you mean RUNCAST_PORT?",
        "RUNCAST_UDP_PORT in the environment is not a setting; did you mean RUNCAST_PORT?",
        "RUNCAST_RETENTON in .env is not a setting; did you mean RUNCAST_RETENTION?",
    )


def test_what_kubernetes_says_of_a_service_named_as_we_are_is_not_a_setting(place: Place) -> None:
    """It puts RUNCAST_PORT=tcp://… into every pod beside a service `runcast`, the gateway's own included."""
    links = {
        "RUNCAST_SERVICE_HOST": "10.0.0.1",
        "RUNCAST_SERVICE_PORT": "80",
        "RUNCAST_SERVICE_PORT_HTTP": "80",
        "RUNCAST_PORT": "tcp://10.0.0.1:80",
        "RUNCAST_PORT_80_TCP": "tcp://10.0.0.1:80",
        "RUNCAST_PORT_80_TCP_ADDR": "10.0.0.1",
        "RUNCAST_REDIS_PORT": "tcp://10.0.0.2:6379",
        "RUNCAST_METRICS_PORT": "tcp://10.0.0.3:9100",
    }

    configuration = place.read(**links, PORT="9000")

    assert (configuration.problems, configuration.unknown) == ((), ())
    assert configuration.values == {"port": 9000}


def test_sources_can_be_sent_to_a_worker_and_asked_again_there(place: Place) -> None:
    """With the flags, and the file as it is then."""
    place.write("runcast.toml", 'heartbeat = "1s"')
    sources = Sources(flags={"port": "1"}, environ={"REDIS_URL": URL}, directory=place.directory)

    sent = pickle.loads(pickle.dumps(sources))
    place.write("runcast.toml", 'heartbeat = "2s"')

    assert read_configuration(sent).settings() == Settings(redis_url=URL, port=1, heartbeat_seconds=2.0)


def test_an_embedded_redis_beside_a_url_does_not_count(place: Place) -> None:
    """And that is told, for one of the two was meant."""
    configuration = place.read({"embedded": "true"}, REDIS_URL=URL)

    assert configuration.settings().redis_url == URL
    assert configuration.warnings == ("--embedded does not count: REDIS_URL in the environment names a Redis",)


def test_without_redis_there_are_no_settings(place: Place) -> None:
    """And what to do about it is told."""
    with pytest.raises(Misconfigured, match=r"RUNCAST_REDIS_URL=.*--embedded"):
        place.read().settings()
    assert len(place.read().missing) == 2
    assert place.read(RUNCAST_EMBEDDED="on", RUNCAST_SECRET_KEY=SECRET).missing == ()
