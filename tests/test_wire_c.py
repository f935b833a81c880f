"""A client in C, written from `docs/wire.md` alone, and a service of this package."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .c_compiler import compiled
from .conftest import Children

SOURCE = Path(__file__).parent / "c" / "service_client.c"
SECONDS = 20
POST = """
    import sys
    from collections.abc import AsyncIterator
    from typing import Protocol

    import attrs

    from namedipc import Service, raises


    @attrs.define
    class Burnt(Exception):
        what: str
        minutes: int


    class Post(Protocol):
        @raises(Burnt)
        async def burn(self, letter: str) -> None: ...

        def count(self, to: int) -> AsyncIterator[int]: ...

        async def weigh(self, letter: str) -> int: ...


    class Clerk:
        async def burn(self, letter: str) -> None:
            raise Burnt(letter, 3)

        async def count(self, to: int) -> AsyncIterator[int]:
            for number in range(to):
                yield number

        async def weigh(self, letter: str) -> int:
            return len(letter)


    Service(sys.argv[1], Post).run(Clerk(), ready=lambda server: print("ready", flush=True))
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Compile it."""
    return compiled(SOURCE, tmp_path_factory.mktemp("c"))


def test_a_client_in_c_calls_and_reads_a_stream(client: str, tmp_path: Path, child: Children) -> None:
    """It asks what the service is, calls in JSON, reads more items than its window has, and gets an error."""
    child(POST, str(tmp_path / "post")).expect("ready")
    done = subprocess.run([client, "post"], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    lines = [line.split(": ", 1) for line in done.stdout.splitlines()]
    told = {what: text for what, text in lines if what != "item"}
    assert told["methods"] == "3"
    assert told["ping"] == "null"
    assert list(json.loads(told["schema"])["methods"]) == ["burn", "count", "weigh"]
    assert told["reply"] == "3"
    assert [int(text) for what, text in lines if what == "item"] == list(range(100))
    error = json.loads(told["error"])
    assert (error["code"], error["type_name"], error["fields"]) == (
        "declared",
        "Burnt",
        {"what": "toast", "minutes": 3},
    )


def test_the_client_in_c_tells_of_a_service_that_is_not_there(client: str, tmp_path: Path) -> None:
    """Its status is 1, so the test above could fail."""
    done = subprocess.run([client, "post"], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("connect: ")
