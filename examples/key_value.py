"""A key-value service: one process keeps the values, any number of others ask for them, change them and count.

A method which does not wait runs to its end before the next one begins, so `add` needs no lock.

Prints what a client put and found, and what came of two clients that counted at the same time:

    get kitchen: soup
    get cellar: None
    keys: ['kitchen', 'visits']
    2 clients have added 1 to visits, 200 times each: 400.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from _company import run, say, stage

from namedipc import Service

CLIENTS = 2
TIMES = 200


class KeyValue(Protocol):
    """What can be asked of the service."""

    async def put(self, key: str, value: str) -> None: ...
    async def get(self, key: str) -> str | None: ...
    async def add(self, key: str, number: int = 1) -> int: ...
    async def keys(self, prefix: str = "") -> list[str]: ...


class Memory:
    """Keeps the values as long as the service runs."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    async def put(self, key: str, value: str) -> None:
        self._values[key] = value

    async def get(self, key: str) -> str | None:
        return self._values.get(key)

    async def add(self, key: str, number: int = 1) -> int:
        total = int(self._values.get(key, "0")) + number
        self._values[key] = str(total)
        return total

    async def keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self._values if key.startswith(prefix))


KEY_VALUE = Service("key_value", KeyValue)


def serve(path: Path) -> None:
    """Be the service, until SIGTERM."""
    KEY_VALUE.at(path).run(Memory())


def count(path: Path) -> None:
    """Add 1, many times."""
    with KEY_VALUE.at(path).connect(wait_seconds=10, timeout=10) as client:
        for _ in range(TIMES):
            client.call(KeyValue.add, "visits")


def look(path: Path) -> None:
    """Put a value, and see what is there."""
    with KEY_VALUE.at(path).connect(wait_seconds=10, timeout=10) as client:
        client.call(KeyValue.put, "kitchen", "soup")
        say(f"get kitchen: {client.call(KeyValue.get, 'kitchen')}")
        say(f"get cellar: {client.call(KeyValue.get, 'cellar')}")
        say(f"keys: {client.call(KeyValue.keys)}")
        say(f"{CLIENTS} clients have added 1 to visits, {TIMES} times each: {client.call(KeyValue.get, 'visits')}.")


def main() -> None:
    with stage() as (directory, company):
        path = directory / "key_value"
        server = company.start(serve, path)
        company.wait(*[company.start(count, path) for _ in range(CLIENTS)])
        company.wait(company.start(look, path))
        company.stop(server)


if __name__ == "__main__":
    run(main)
