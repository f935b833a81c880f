"""namedipc.inspect: what both checkers accept, with the exact type."""

from __future__ import annotations

from collections.abc import AsyncIterable, Generator
from pathlib import Path
from typing import assert_type

from namedipc import ServiceStatistics, feed
from namedipc.inspect import Identity, JsonValue, call, identity, ping, schema, statistics, stream


def asked(path: Path) -> None:
    """Each answer has its class; what is called in JSON answers in JSON."""
    assert_type(ping(path), float)
    assert_type(ping("post", timeout=1, wait_seconds=2.5), float)
    assert_type(identity(path), Identity)
    assert_type(identity(path).pid, int)
    assert_type(schema(path), dict[str, JsonValue])
    assert_type(statistics(path), ServiceStatistics)
    assert_type(statistics(path).latency_p99_seconds, float)
    assert_type(call(path, "weigh", {"text": "ann"}, timeout=1), JsonValue)
    assert_type(call(path, "post", [1, 2.5, None, True], stamps=3), JsonValue)
    assert_type(stream(path, "count", to=3), Generator[JsonValue, None, None])
    letters: AsyncIterable[JsonValue] = feed(["a", 1, None])
    assert_type(call(path, "post", letters), JsonValue)
