"""Where a publisher finds its Redis, and what it takes from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import BadFeed, Misconfigured
from gateway.publisher import AsyncPublisher, Publisher
from gateway.publisher.configuration import find_redis, make_writer
from gateway.store.redis_keys import Retention

if TYPE_CHECKING:
    from pathlib import Path

RUNCAST, OTHER = "redis://one:1/0", "redis://two:2/0"


def test_the_argument_wins_then_our_variable_then_everybodys() -> None:
    environ = {"RUNCAST_REDIS_URL": RUNCAST, "REDIS_URL": OTHER}
    assert find_redis("redis://three", environ).url == "redis://three"
    assert find_redis(None, environ).url == RUNCAST
    assert find_redis(None, {"REDIS_URL": OTHER}).url == OTHER


def test_without_a_redis_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"set RUNCAST_REDIS_URL .* or start a gateway"):
        find_redis(None, {"RUNCAST_STATE_DIR": str(tmp_path)})


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost", "redis://host:port/0"])
@pytest.mark.parametrize("kind", [Publisher, AsyncPublisher])
def test_a_url_that_can_be_none_is_told_at_once(kind: type[Publisher], url: str) -> None:
    with pytest.raises(Misconfigured):
        kind(url)


def test_a_url_with_a_password_is_not_repeated() -> None:
    with pytest.raises(Misconfigured) as caught:
        find_redis("http://:secret@host")
    assert "secret" not in str(caught.value)


def test_the_environment_of_the_process_is_read() -> None:
    writer = make_writer(
        None, None, None, {"RUNCAST_ENVIRONMENT": "prod", "RUNCAST_RETENTION": "2h", "RUNCAST_METADATA_BYTES": "10"}
    )
    assert writer.environment == "prod"
    assert writer.retention == Retention(finished_seconds=7200)
    assert writer.limits.metadata_bytes == 10
    assert make_writer(None, None, None, {}).environment == "default"


@pytest.mark.parametrize("retention", ["90s", 90, 90.0, Retention(finished_seconds=90)])
def test_a_retention_is_given_in_many_ways(retention: str | float | Retention) -> None:
    assert make_writer("e", retention, None, {}).retention.finished_seconds == 90


def test_a_secret_file_may_hold_the_url(tmp_path: Path) -> None:
    """As Docker and Kubernetes mount secrets; with its variable beside it nobody knows which one counts."""
    (tmp_path / "url").write_text(f"{RUNCAST}\n")

    assert find_redis(None, {"RUNCAST_REDIS_URL_FILE": str(tmp_path / "url"), "REDIS_URL": OTHER}).url == RUNCAST
    assert find_redis(None, {"REDIS_URL_FILE": str(tmp_path / "url")}).url == RUNCAST
    with pytest.raises(Misconfigured, match="RUNCAST_REDIS_URL and RUNCAST_REDIS_URL_FILE are both set"):
        find_redis(None, {"RUNCAST_REDIS_URL_FILE": str(tmp_path / "url"), "RUNCAST_REDIS_URL": OTHER})
    with pytest.raises(Misconfigured, match=r"RUNCAST_REDIS_URL_FILE .*can't be read"):
        find_redis(None, {"RUNCAST_REDIS_URL_FILE": str(tmp_path / "none")})


def test_sizes_and_spans_have_units() -> None:
    """The same as a gateway reads them."""
    writer = make_writer(
        None, None, None, {"RUNCAST_PAYLOAD_BYTES": "1MiB", "RUNCAST_STREAM_RETENTION": "7d", "RUNCAST_RETENTION": " "}
    )
    assert writer.limits.payload_bytes == 1024 * 1024
    assert writer.retention == Retention(streams_seconds=7 * 86400)


def test_a_gateway_s_file_is_nothing_to_a_publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job must not fail because of what lies in its directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runcast.toml").write_text("this is not TOML")
    assert make_writer(None, None, None, {}).environment == "default"


@pytest.mark.parametrize(
    "environ",
    [
        *({"RUNCAST_RETENTION": "soon"}, {"RUNCAST_STREAM_RETENTION": "0"}, {"RUNCAST_OUTPUT_BYTES": "10 MB"}),
        *({"RUNCAST_METADATA_BYTES": "0"}, {"RUNCAST_PAYLOAD_BYTES": "0KiB"}, {"RUNCAST_STREAM_CHUNK_BYTES": "-1"}),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match=next(iter(environ))):
        make_writer(None, None, None, environ)


def test_a_name_that_no_environment_can_have() -> None:
    with pytest.raises(BadFeed):
        Publisher("redis://host", environment="a b")
