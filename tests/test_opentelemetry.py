"""Tracing with OpenTelemetry, between processes: whose child a span is, what it is called, what it says of errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol, TypeAlias

import pytest
import trio
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from namedipc import Service, aclosing
from namedipc.opentelemetry import client_tracing, service_tracing

from .conftest import Child, Children

pytestmark = pytest.mark.usefixtures("no_leaks")


class Kitchen(Protocol):
    """The interface."""

    async def cook(self, dish: str) -> str:
        """Answer."""
        ...

    def progress(self, steps: int) -> AsyncIterator[int]:
        """Yield."""
        ...


class Chef:
    """The implementation."""

    async def cook(self, dish: str) -> str:
        """Answer, or raise."""
        if dish == "stone":
            raise ValueError(dish)
        if dish == "stew":
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return dish

    async def progress(self, steps: int) -> AsyncIterator[int]:
        """Yield."""
        for step in range(steps):
            yield step


class Spans:
    """A tracer, and the spans it has made."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider()
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: Tracer = self._provider.get_tracer("test")

    def take(self) -> list[ReadableSpan]:
        """Return those which have ended, in that order, and forget them."""
        spans = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        return spans


SERVER_SCRIPT = """
import json, sys
from namedipc import Service
from namedipc.opentelemetry import service_tracing
from tests.test_opentelemetry import Chef, Kitchen, Spans, told

spans = Spans()
with Service(sys.argv[1], Kitchen).serve(Chef(), trace=service_tracing(spans.tracer)) as server:
    print("ready", flush=True)
    while input() == "spans":
        while server.statistics().in_flight:
            pass
        print(json.dumps([told(span) for span in spans.take()]), flush=True)
"""

Told: TypeAlias = dict[str, str | int | None]


def told(span: ReadableSpan) -> Told:
    """What the tests look at, of a span in either process."""
    attributes = span.attributes or {}
    assert span.context is not None
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace": span.context.trace_id,
        "id": span.context.span_id,
        "parent": span.parent.span_id if span.parent else None,
        "status": span.status.status_code.name,
        "events": ", ".join(str((event.attributes or {}).get("exception.type")) for event in span.events),
        "error": str(attributes.get("error.type")),
        "system": str(attributes["rpc.system.name"]),
        "method": str(attributes["rpc.method"]),
        "pid": int(str(attributes["namedipc.peer.pid"])),
    }


@pytest.fixture
def service(tmp_path: Path) -> Service[Kitchen]:
    """A name."""
    return Service(tmp_path / "kitchen", Kitchen)


@pytest.fixture
def owner(service: Service[Kitchen], child: Children) -> Child:
    """A process that serves it, and tells its spans."""
    owner = child(SERVER_SCRIPT, str(service.path))
    owner.expect("ready")
    return owner


@pytest.fixture
def spans() -> Spans:
    """The spans of this process."""
    return Spans()


def spans_of(owner: Child) -> list[Told]:
    """The spans of the service, once no call is in flight."""
    owner.say("spans")
    found: list[Told] = json.loads(owner.read_line())
    return found


def check_relation(caller: Told, handler: Told, owner: Child) -> None:
    """One trace, in which the handler's span is the child of the caller's."""
    assert (caller["kind"], handler["kind"]) == (SpanKind.CLIENT.name, SpanKind.SERVER.name)
    assert handler["trace"] == caller["trace"]
    assert handler["parent"] == caller["id"]
    assert caller["pid"] == owner.pid
    for span in (caller, handler):
        assert (span["system"], span["method"]) == ("namedipc", span["name"])


def test_blocking_calls_are_parents_across_processes(service: Service[Kitchen], owner: Child, spans: Spans) -> None:
    """A call inside of a span of the program: three generations in one trace; errors are recorded on both sides."""
    with service.connect(trace=client_tracing(spans.tracer)) as kitchen:
        with spans.tracer.start_as_current_span("dinner") as dinner:
            assert kitchen.call(Kitchen.cook, "soup") == "soup"
        caller = told(spans.take()[0])
        (handler,) = spans_of(owner)
        check_relation(caller, handler, owner)
        assert caller["name"] == "Kitchen.cook"
        assert caller["parent"] == dinner.get_span_context().span_id
        assert (caller["status"], caller["error"]) == (StatusCode.UNSET.name, "None")

        with pytest.raises(Exception, match="ValueError"):
            kitchen.call(Kitchen.cook, "stone")
        (caller,), (handler,) = map(told, spans.take()), spans_of(owner)
        check_relation(caller, handler, owner)
        assert (caller["status"], caller["error"]) == (StatusCode.ERROR.name, "RemoteError")
        assert (handler["status"], handler["error"], handler["events"]) == (
            StatusCode.ERROR.name,
            "ValueError",
            "ValueError",
        )

        assert list(kitchen.stream(Kitchen.progress, 200)) == list(range(200))
        assert kitchen.call_each(Kitchen.cook, ["soup", "pie"]) == ["soup", "pie"]
        stream, batch = map(told, spans.take())
        streamed, *cooked = spans_of(owner)
        check_relation(stream, streamed, owner)
        assert streamed["name"] == "Kitchen.progress"
        for handler in cooked:
            check_relation(batch, handler, owner)
        assert len(cooked) == 2


async def test_trio_calls_are_parents_across_processes(service: Service[Kitchen], owner: Child, spans: Spans) -> None:
    """Concurrent calls do not mix; a cancelled one and a stream that is left have ended on both sides."""
    async with service.connect(trace=client_tracing(spans.tracer)) as kitchen:
        async with trio.open_nursery() as nursery:
            for dish in ("soup", "pie", "cake"):
                nursery.start_soon(kitchen.cook, dish)
        callers = {span["id"]: span for span in map(told, spans.take())}
        handlers = spans_of(owner)
        for handler in handlers:
            check_relation(callers[handler["parent"]], handler, owner)
        assert len({span["trace"] for span in handlers}) == len(callers) == 3

        with trio.move_on_after(0.05):
            await kitchen.cook("stew")
        async with aclosing(kitchen.progress(1 << 30)) as steps:
            assert await anext(steps) == 0
        cancelled, left = map(told, spans.take())
        stopped, closed = spans_of(owner)
        check_relation(cancelled, stopped, owner)
        check_relation(left, closed, owner)
        assert (cancelled["error"], stopped["error"], closed["error"]) == ("Cancelled", "Cancelled", "Cancelled")
        assert cancelled["status"] == StatusCode.UNSET.name


async def test_calls_of_a_handler_are_children_of_its_span(tmp_path: Path, spans: Spans) -> None:
    """A service that calls another one: its caller's, its own, and the other's spans form one line."""

    class Waiter(Chef):
        def __init__(self, kitchen: Kitchen) -> None:
            self._kitchen = kitchen

        async def cook(self, dish: str) -> str:
            return await self._kitchen.cook(dish)

    front, back = (Service(tmp_path / name, Kitchen) for name in ("front", "back"))
    server, client = service_tracing(spans.tracer), client_tracing(spans.tracer)
    async with (
        back.serve(Chef(), trace=server),
        back.connect(trace=client) as kitchen,
        front.serve(Waiter(kitchen), trace=server),
        front.connect(trace=client) as waiter,
    ):
        assert await waiter.cook("soup") == "soup"
    line = [told(span) for span in reversed(spans.take())]
    assert [span["kind"] for span in line] == ["CLIENT", "SERVER", "CLIENT", "SERVER"]
    assert [span["parent"] for span in line] == [None, *(span["id"] for span in line[:-1])]


def test_without_a_provider_nothing_is_traced(service: Service[Kitchen], owner: Child) -> None:
    """OpenTelemetry does nothing until a program sets a provider; the calls are as they were."""
    with service.connect(trace=client_tracing()) as kitchen:
        assert kitchen.call(Kitchen.cook, "soup") == "soup"
    (handler,) = spans_of(owner)
    assert handler["parent"] is None


def test_importing_namedipc_leaves_opentelemetry_out() -> None:
    """It is an extra."""
    script = "import sys, namedipc; print(*(m for m in sys.modules if m.split('.')[0] == 'opentelemetry'))"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == []
