"""Tracing with OpenTelemetry. Not in the facade, so that `import namedipc` needs no opentelemetry.

    KITCHEN.connect(trace=client_tracing())
    KITCHEN.serve(Chef(), trace=service_tracing())

The trace context travels in the headers of each call, as the propagator that is set in OpenTelemetry writes it: W3C's
`traceparent` if nothing else was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer, get_tracer

from ._call import Call, Trace

__all__ = ["client_tracing", "service_tracing"]


def client_tracing(tracer: Tracer | None = None) -> Trace:
    """Return what makes a span of each call, for `connect(trace=...)`; the service learns of it by the headers.

    A batch of `call_each` is one span. That of a stream ends once the call has been sent; the service's lasts as long
    as the stream.

    Args:
        tracer: That of OpenTelemetry's global provider, if not given.
    """
    chosen = _tracer(tracer)

    @contextmanager
    def trace(call: Call) -> Iterator[Span]:
        with _span(chosen, call, SpanKind.CLIENT, None) as span:
            propagate.inject(call.headers)
            yield span

    return trace


def service_tracing(tracer: Tracer | None = None) -> Trace:
    """Return what makes a span of each call that is handled, for `serve(trace=...)`; a child of its caller's.

    Args:
        tracer: That of OpenTelemetry's global provider, if not given.
    """
    chosen = _tracer(tracer)

    @contextmanager
    def trace(call: Call) -> Iterator[Span]:
        with _span(chosen, call, SpanKind.SERVER, propagate.extract(call.headers)) as span:
            yield span

    return trace


def _tracer(given: Tracer | None) -> Tracer:
    return get_tracer("namedipc") if given is None else given


@contextmanager
def _span(tracer: Tracer, call: Call, kind: SpanKind, parent: Context | None) -> Iterator[Span]:
    """Be inside of the span of a call, named by OpenTelemetry's conventions for remote procedure calls."""
    method = f"{call.interface}.{call.method}"
    attributes: dict[str, str | int] = {
        "rpc.system.name": "namedipc",
        "rpc.method": method,
        "network.transport": "unix",
        "namedipc.peer.pid": call.peer.pid,
        "namedipc.peer.uid": call.peer.uid,
    }
    with tracer.start_as_current_span(method, context=parent, kind=kind, attributes=attributes) as span:
        try:
            yield span
        except BaseException as error:  # trio.Cancelled too, which OpenTelemetry takes for no error
            span.set_attribute("error.type", type(error).__qualname__)
            raise
