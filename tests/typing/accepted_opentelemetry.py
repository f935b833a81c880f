"""namedipc.opentelemetry: what both checkers accept, with the exact type."""

from __future__ import annotations

from typing import assert_type

from opentelemetry.trace import get_tracer

from namedipc import BlockingClient, Trace
from namedipc.opentelemetry import client_tracing, service_tracing

from .names import POST, Clerk, Post


async def in_trio() -> None:
    """Both fit where a tracer is taken."""
    trace: Trace = client_tracing()
    async with POST.serve(Clerk(), trace=service_tracing()), POST.connect(trace=trace) as post:
        assert_type(post, Post)


def blocking() -> None:
    """With a tracer of one's own."""
    tracer = get_tracer("post")
    with POST.serve(Clerk(), trace=service_tracing(tracer)), POST.connect(trace=client_tracing(tracer)) as post:
        assert_type(post, BlockingClient[Post])
