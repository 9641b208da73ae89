"""OpenTelemetry spans of calls, where the extra ``traces`` is installed and somebody wants them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Traces"]

Call = Callable[[Any, Any], Awaitable[Any]]


class Traces:
    """A server span around each call, a child of the caller's where it sent a ``traceparent``.

    Spans have the method's name and whether it failed; nothing of what was asked or answered.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("broker")
        self._kind = SpanKind.SERVER
        self._failed = Status(StatusCode.ERROR)
        self._sent = TraceContextTextMapPropagator()

    @classmethod
    def exporting(cls) -> Traces:
        """Spans that go where the variables ``OTEL_EXPORTER_OTLP_…`` say; ImportError without the extra."""
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider(resource=Resource.create({"service.name": "capacity-broker"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def around(self, name: str, call: Call) -> Call:
        """The same call, with a span."""

        async def traced(request: Any, context: Any) -> Any:
            sent = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
            with self._tracer.start_as_current_span(
                name,
                context=self._sent.extract(sent),
                kind=self._kind,
                attributes={"rpc.system": "grpc", "rpc.method": name},
                record_exception=False,  # their texts are the caller's
                set_status_on_exception=False,
            ) as span:
                try:
                    return await call(request, context)
                except BaseException:
                    span.set_status(self._failed)
                    raise

        return traced
