"""
`/openapi.json` tells the truth: schemathesis makes requests from it, right and wrong ones, and compares the answers.

Each answer must have a status, type, body and headers that the document names; what fits the document must be accepted,
and what does not must be refused; nothing may be answered by a 5xx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import schemathesis
from schemathesis import Config
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished

from tests.journeys.gateway_process import SECRET, running_gateway, token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.redis_server import RedisServer

#: What never ends by itself, so that nobody waits for the end of it: tests/gateway/transports and the journeys have it.
ENDLESS: Final = ("followFeeds", "pollFeeds", "readStream")
#: Whether they accept depends on several values together, or on what a token says, for which JSON Schema has no words.
CONDITIONAL: Final = ("appendToStream", "probeStream", "mintToken", "revokeTokens")
#: Their bounds move with the clock, away from those in the document that was read a moment before.
CLOCKED: Final = ("mintToken", "revokeTokens")
#: Refusals of what a schema can't know: the tags that a run has, a key that was used.
ACCEPTED: Final = ["2xx", "3xx", "401", "403", "404", "409", "422", "429"]


def config(credential: str, **phases: Any) -> Config:
    """Everything is checked; each phase makes the same requests on every run."""
    return Config.from_dict(
        {
            "headers": {"Authorization": f"Bearer {credential}"},
            "generation": {"deterministic": True, "max-examples": 4, "database": "none"},
            "phases": phases,
            "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
            "operations": [
                {"include-operation-id": list(ENDLESS), "enabled": False},
                {"include-operation-id": list(CONDITIONAL), "checks": {"positive_data_acceptance": {"enabled": False}}},
                {"include-operation-id": list(CLOCKED), "checks": {"negative_data_rejection": {"enabled": False}}},
            ],
        }
    )


@pytest.fixture(scope="module")
def gateway_url(_servers: dict[str, RedisServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("schemathesis") / "gateway.log"
    with running_gateway(log, _servers["valkey"].url, **NO_LIMITS) as gateway:
        yield gateway.url
    assert "Traceback" not in log.read_text()


#: More requests come at a time than one caller may make.
NO_LIMITS: Final = {"RUNCAST_REQUESTS_PER_SECOND": "1000000", "RUNCAST_TOKEN_REQUESTS_PER_SECOND": "1000000"}


def failures(url: str, config: Config) -> tuple[set[str], list[str]]:
    """The operations that were tried, and everything that was not as the document says."""
    tried, wrong = set(), []
    for event in from_schema(schemathesis.openapi.from_url(f"{url}/openapi.json", config=config)).execute():
        if isinstance(event, FatalError):
            raise event.exception
        if isinstance(event, NonFatalError):
            wrong.append(f"{event.label}: {event.value!r}")
        if isinstance(event, ScenarioFinished):
            tried |= {node.value.operation.label for node in event.recorder.cases.values()}
            for checks in event.recorder.checks.values():
                for check in checks:
                    if check.failure_info is not None:
                        wrong.append(f"{event.label}: {check.failure_info.failure}\n{check.failure_info.code_sample}")
    return tried, wrong


def test_the_document_is_true_for_the_secret_key(gateway_url: str) -> None:
    """Every value of every operation at its bounds and beyond, and values drawn at random."""
    off = {"enabled": False}

    tried, wrong = failures(gateway_url, config(SECRET, stateful=off))

    assert wrong == []
    assert {"POST /v1/runs", "PATCH /v1/runs/{id}", "GET /v1/batches/{id}", "POST /v1/tokens"} <= tried
    assert len(tried) > 15


def test_the_document_is_true_for_a_public_token(gateway_url: str) -> None:
    """Half of what is asked is not allowed, and says so as the document does."""
    off = {"enabled": False}
    credential = token("read:tasks:export", "write:tasks:export", "read:tags:customer:7")

    tried, wrong = failures(gateway_url, config(credential, stateful=off, coverage=off))

    assert wrong == []
    assert len(tried) > 15


def test_the_document_is_true_for_one_request_after_another(gateway_url: str) -> None:
    """A run that was created is read, changed and ended: what one answer gave is what the next request asks."""
    off = {"enabled": False}

    tried, wrong = failures(
        gateway_url, config(SECRET, examples=off, coverage=off, fuzzing=off, stateful={"max-steps": 6})
    )

    assert wrong == []
    assert {"POST /v1/runs", "PATCH /v1/runs/{id}", "GET /v1/runs/{id}"} <= tried
