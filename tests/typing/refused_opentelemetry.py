"""namedipc.opentelemetry: what both checkers refuse. Never imported."""

from __future__ import annotations

from namedipc.opentelemetry import client_tracing, service_tracing

from .names import POST, Clerk

client_tracing("post")  # type: ignore[arg-type]
service_tracing(POST)  # type: ignore[arg-type]
POST.connect(trace=client_tracing)  # type: ignore[arg-type]
POST.serve(Clerk(), trace=service_tracing)  # type: ignore[arg-type]
