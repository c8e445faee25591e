"""Traces: nothing of them unless they are configured, and then one span for each thing that somebody asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from gateway import Publisher
from gateway.store.redis_keys import run_key
from gateway.tracing import is_wanted, traceparent
from tests.journeys.gateway_process import ENVIRONMENT, SECRET, clean_environ, running_gateway, token
from tests.journeys.in_process import until
from tests.journeys.viewers import EventsViewer

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.feeds import EnvironmentId
    from tests.redis_server import RedisServer

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"

PUBLISHING = """
import contextlib, os, sys
from gateway import Publisher
active = contextlib.nullcontext()
if "--in-a-trace" in sys.argv:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(provider)
    active = trace.get_tracer("app").start_as_current_span("the job's own")
with Publisher() as publisher, active:
    run = publisher.create("resize", id="run_traced")
    run.start()
    for count in range(30):
        run.progress(count, 30)
        run.set("text", count)
    run.complete()
if "--show-modules" in sys.argv:
    print([name for name in sys.modules if name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))])
"""


def publish(redis: RedisServer, environment: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in clean_environ().items() if not name.startswith("OTEL_")}
    environ |= {"RUNCAST_REDIS_URL": redis.url, "RUNCAST_ENVIRONMENT": environment} | settings
    return subprocess.run(
        [sys.executable, "-c", PUBLISHING, *arguments], env=environ, capture_output=True, text=True, check=True
    )


def spans_in(text: str) -> list[dict[str, Any]]:
    """What the console exporter wrote, among other things."""
    found, decoder, place = [], json.JSONDecoder(), 0
    while (place := text.find('{\n    "name"', place)) >= 0:
        span, place = decoder.raw_decode(text, place)
        found.append(span)
    return found


def stored_trace(redis: RedisServer, environment: str, run: str) -> str | None:
    with redis.client() as client:
        text = client.hget(run_key(environment, run), "traceparent")  # type: ignore[arg-type]
    return None if text is None else str(json.loads(text))


def test_without_configuration_nothing_of_it_is_imported(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """Neither by a publisher, nor by the gateway. (redis-py loads the part for metrics by itself.)"""
    told = publish(redis_server, environment, "--show-modules")
    script = (
        "import sys; from auth import EnvironmentKeys, Keyring; from gateway import Settings; "
        "from gateway.app import create_app\n"
        f"create_app(Settings(redis_url={redis_server.url!r}), Keyring([EnvironmentKeys.of('a', {SECRET!r})]))\n"
        "traces = ('opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(traces)])"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    served = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)

    assert (told.stdout, told.stderr) == ("[]\n", "")
    assert served.stdout == "[]\n"
    assert stored_trace(redis_server, environment, "run_traced") is None


def test_a_publisher_has_a_span_for_each_status(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """And none for sixty times of progress and metadata."""
    told = publish(redis_server, environment, OTEL_TRACES_EXPORTER="console")
    spans = spans_in(told.stdout)

    assert [span["name"].removeprefix("runcast publish ") for span in spans] == [
        "PENDING",
        "EXECUTING",
        "COMPLETED_SUCCESSFULLY",
    ]
    assert {span["attributes"]["runcast.run.id"] for span in spans} == {"run_traced"}
    assert {span["resource"]["attributes"]["service.name"] for span in spans} == {"runcast"}
    kept = stored_trace(redis_server, environment, "run_traced")
    assert kept is not None
    assert kept.rpartition("-")[0] == _traceparent_of(spans[0])


def test_within_a_trace_the_spans_and_the_run_belong_to_it(
    redis_server: RedisServer, environment: EnvironmentId
) -> None:
    """The application's own provider is used."""
    told = publish(redis_server, environment, "--in-a-trace", OTEL_TRACES_EXPORTER="otlp")
    spans = {span["name"]: span for span in spans_in(told.stdout)}
    job = spans.pop("the job's own")

    assert len(spans) == 3
    assert {span["parent_id"] for span in spans.values()} == {job["context"]["span_id"]}
    kept = stored_trace(redis_server, environment, "run_traced")
    assert kept is not None
    assert kept.split("-")[1] == job["context"]["trace_id"].removeprefix("0x")


def _traceparent_of(span: dict[str, Any]) -> str:
    """Without its flags."""
    context = span["context"]
    return f"00-{context['trace_id'].removeprefix('0x')}-{context['span_id'].removeprefix('0x')}"


def test_configured_but_not_installed_is_said_once(redis_server: RedisServer, environment: EnvironmentId) -> None:
    """With what to do; and everything else works."""
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from gateway import Publisher\n"
        "with Publisher() as publisher:\n"
        "    for count in range(3): publisher.create('resize').complete()\n"
        "    assert publisher.statistics.sent == 6, publisher.statistics\n"
    )
    environ = clean_environ(
        RUNCAST_REDIS_URL=redis_server.url,
        RUNCAST_ENVIRONMENT=environment,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
    )
    told = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)

    (line,) = told.stderr.splitlines()
    assert "pip install 'runcast[otel]'" in line


async def test_a_request_goes_on_with_the_trace_it_comes_with(tmp_path: Path, redis_server: RedisServer) -> None:
    """The run that it creates remembers it; what viewers are told of that has no span."""
    log = tmp_path / "log"
    with running_gateway(log, redis_server.url, OTEL_TRACES_EXPORTER="console") as gateway:
        async with EventsViewer(gateway, token(), {"run": "run_by_http"}) as viewer, httpx2.AsyncClient() as client:
            await until(lambda: viewer.connections, "the viewer")
            headers = {"authorization": f"Bearer {SECRET}", "traceparent": TRACEPARENT}
            body = {"id": "run_by_http", "taskIdentifier": "resize"}
            created = await client.post(f"{gateway.url}/v1/runs", json=body, headers=headers)
            assert created.status_code == 201, created.text
            with Publisher(redis_server.url, environment=ENVIRONMENT) as publisher:
                publisher.run("run_by_http").complete()
            await viewer.model.until_status("run_by_http", "COMPLETED")
            await client.get(f"{gateway.url}/livez")
    spans = spans_in(log.read_text())
    posted = next(span for span in spans if span["name"] == "POST /v1/runs")

    assert posted["context"]["trace_id"] == f"0x{TRACE}"
    assert posted["parent_id"] == f"0x{PARENT}"
    assert posted["attributes"]["http.response.status_code"] == 201
    assert created.json()["traceparent"].rpartition("-")[0] == _traceparent_of(posted)
    assert {span["name"] for span in spans} == {"POST /v1/runs", "GET /v1/events"}
    assert "run_by_http" not in json.dumps(spans)


async def test_a_trace_is_kept_even_where_none_are_made(tmp_path: Path, redis_server: RedisServer) -> None:
    """Whoever creates the run knows about traces; that is enough. What is no traceparent is left out."""
    with running_gateway(tmp_path / "log", redis_server.url) as gateway:
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {SECRET}"}) as client:
            for run, header, kept in (("a", TRACEPARENT, TRACEPARENT), ("b", "00-no-trace-01", None)):
                body = {"id": f"run_kept_{run}", "taskIdentifier": "resize"}
                answer = await client.post(f"{gateway.url}/v1/runs", json=body, headers={"traceparent": header})
                assert answer.json().get("traceparent") == kept


@pytest.mark.parametrize(
    ("header", "good"),
    [
        (TRACEPARENT, True),
        (TRACEPARENT.upper(), False),
        (f"01-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (TRACEPARENT + "-more", False),
        ("", False),
    ],
)
def test_only_what_the_standard_calls_a_traceparent_is_one(header: str, good: bool) -> None:
    """W3C Trace Context, section 3.2."""
    assert traceparent({"traceparent": header}) == (header if good else None)


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": " "}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "TRUE"}, False),
    ],
)
def test_its_own_variables_decide(environ: dict[str, str], wanted: bool) -> None:
    """As OpenTelemetry defines them."""
    assert is_wanted(environ) is wanted
