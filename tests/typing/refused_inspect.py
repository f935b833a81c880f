"""namedipc.inspect: what both checkers refuse. Never imported."""

from __future__ import annotations

from namedipc.inspect import call, ping, statistics

ping(b"post")  # type: ignore[arg-type]
ping("post", 5.0)  # type: ignore[call-arg]
call("post", len)  # type: ignore[arg-type]
call("post", "weigh", b"ann")  # type: ignore[arg-type]
call("post", "weigh", timeout="soon")  # type: ignore[arg-type]
p99 = statistics("post").p99  # type: ignore[attr-defined]
