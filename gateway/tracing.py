"""
OpenTelemetry, for whoever has configured it: a span for each HTTP request of the API and for each status that is
published, never one for what is delivered, and the trace that a run was created in is kept with it (`traceparent`).

Without OTEL_… variables nothing of it is imported, and all of this costs a look at a variable.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from gateway.codec import encode_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.trace import Span, Tracer

    from gateway.changes import Change

_log = logging.getLogger("runcast.tracing")

#: Any of these says that somebody wants traces.
_WANTED: Final = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_GROUP: Final = "opentelemetry_traces_exporter"
#: The one that we bring along; with another protocol that is installed, OTEL_TRACES_EXPORTER names it.
_EXPORTERS: Final = {"otlp": "otlp_proto_http"}
COLUMN: Final = "traceparent"
_HEADER: Final = COLUMN
#: W3C Trace Context, section 3.2: version, trace, parent, flags; of a version that we know.
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_FLUSH_MILLISECONDS: Final = 2000


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether traces are configured (OpenTelemetry's environment variables)."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return any(environ.get(name, "").strip() for name in _WANTED)


class Tracing:
    """Makes spans, by the application's own provider where it has set one up, else by one of ours."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """
        Raises:
            ImportError: When OpenTelemetry is not installed, or an exporter that was asked for is not.
        """
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider

        self._own: TracerProvider | None = None
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            provider = self._own = _provider(environ)
        self._tracer: Tracer = provider.get_tracer("runcast")

    @contextlib.contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """A span of a request, which goes on with the trace that its headers name."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract(headers)
        attributes = {"http.request.method": method}
        with self._tracer.start_as_current_span(
            method, context, kind=SpanKind.SERVER, attributes=attributes, record_exception=False
        ) as span:
            yield span

    @contextlib.contextmanager
    def publishing(self, change: Change) -> Iterator[Change]:
        """A span of a change. A run that it creates remembers the trace."""
        from opentelemetry.trace import SpanKind

        status = change.status or "QUEUED"
        attributes = {"runcast.run.id": change.run, "runcast.run.status": str(status)}
        with self._tracer.start_as_current_span(
            f"runcast publish {status}", kind=SpanKind.PRODUCER, attributes=attributes
        ):
            yield _with_trace(change) if change.create else change

    def flush(self) -> None:
        """Send what waits, for a moment at most."""
        if self._own is not None:
            self._own.force_flush(_FLUSH_MILLISECONDS)


def _provider(environ: Mapping[str, str]) -> Any:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()  # with OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "runcast"}))
    provider = TracerProvider(resource=resource)  # with OTEL_TRACES_SAMPLER
    for name in (environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp").split(","):
        provider.add_span_processor(BatchSpanProcessor(_exporter(name.strip())))
    return provider


def _exporter(name: str) -> Any:
    for found in entry_points(group=_GROUP, name=_EXPORTERS.get(name, name)):
        return found.load()()
    raise ImportError(f"there is no exporter {name!r}")


@cache
def tracing() -> Tracing | None:
    """This process's, or None where nobody configured it, or it can't work; the latter is said once."""
    if not is_wanted(os.environ):
        return None
    try:
        return Tracing(os.environ)
    except ImportError as error:
        _log.warning("traces are configured (OTEL_…), but %s: pip install 'runcast[otel]'. There are none now", error)
        return None


@contextlib.contextmanager
def publishing(change: Change) -> Iterator[Change]:
    """
    What is published of *change*, and its span: for a status, and for a run that is created; else neither costs
    anything.
    """
    traced = tracing() if change.status is not None or change.create else None
    if traced is None:
        yield change
        return
    with traced.publishing(change) as published:
        yield published


def traceparent(headers: Mapping[str, str]) -> str | None:
    """The trace in which something happens: the active one, or else what *headers* name, if they name one."""
    found = _active() or headers.get(_HEADER, "")
    return found if _TRACEPARENT.fullmatch(found) else None


def _with_trace(change: Change) -> Change:
    found = traceparent({})
    if found is None or COLUMN in change.initial:
        return change
    return replace(change, initial={**change.initial, COLUMN: encode_json(found, what=COLUMN)})


def _active() -> str:
    if tracing() is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(_HEADER, "")
