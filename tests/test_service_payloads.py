"""Services whose arguments, results and streams have large payloads, called from both worlds."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import trio

from namedipc import Service, aclosing, feed, lowlevel
from namedipc._errors import InvalidMessage, LimitReached, RemoteError, TooLarge
from namedipc._protocol.attachments import pack_table
from namedipc._protocol.frames import BUFFER, CALL, PAYLOAD_FLAG, pack_frame
from namedipc._protocol.hello import SERVICE, Hello

from .conftest import Child, Children
from .payload_support import MIB, SMALL_POOL, Bytes, announcement, buffers_mapped, digest, picture, release

pytestmark = pytest.mark.usefixtures("no_leaks")


class Studio(Protocol):
    """Works on pictures."""

    async def negative(self, image: Bytes, *, slowly: bool = False) -> Bytes: ...

    async def echo(self, data: memoryview) -> memoryview: ...

    async def fail(self, image: Bytes) -> None: ...

    def film(self, frames: int) -> AsyncIterator[Bytes]: ...

    async def develop(self, film: AsyncIterable[Bytes]) -> list[int]: ...

    async def large(self, size_bytes: int) -> memoryview: ...


class Photographer:
    """Does it."""

    async def negative(self, image: Bytes, *, slowly: bool = False) -> Bytes:
        if slowly:
            await trio.sleep(0.005)
        np.subtract(255, image, out=image)
        return image

    async def echo(self, data: memoryview) -> memoryview:
        return data

    async def fail(self, image: Bytes) -> None:
        raise ValueError(f"{image.nbytes} bytes")

    async def film(self, frames: int) -> AsyncIterator[Bytes]:
        for number in range(frames):
            yield picture(number)

    async def develop(self, film: AsyncIterable[Bytes]) -> list[int]:
        return [int(image[-1]) async for image in film]

    async def large(self, size_bytes: int) -> memoryview:
        return memoryview(bytes(size_bytes))


@pytest.fixture
def studio(tmp_path: Path) -> Service[Studio]:
    """Where it is."""
    return Service(tmp_path / "studio", Studio)


@contextmanager
def served(studio: Service[Studio]) -> Iterator[None]:
    """Serve in another thread."""
    with studio.serve(Photographer(), limits=SMALL_POOL):
        yield


def served_elsewhere(studio: Service[Studio], child: Children, options: str = "") -> Child:
    """Serve in another process, with these further arguments of `run`."""
    other = child(
        f"""
        import sys
        sys.path.insert(0, sys.argv[2])
        from tests.test_service_payloads import Photographer, Service, Studio
        from tests.payload_support import SMALL_POOL
        Service(sys.argv[1], Studio).run(Photographer(), ready=lambda _: print("ready", flush=True), {options})
        """,
        str(studio.path),
        str(Path(__file__).parent.parent),
    )
    other.expect("ready")
    return other


def test_from_blocking_code(studio: Service[Studio]) -> None:
    """There and back, many times more than there is room for at once."""
    with served(studio), studio.connect(timeout=20) as client:
        for number in range(30):
            found = client.call(Studio.negative, picture(number), slowly=number % 3 == 0)
            assert digest(found) == digest(255 - picture(number))
        assert client.call(Studio.echo, picture(7).data) == picture(7).data
        assert client.call(Studio.echo, memoryview(b"small")) == memoryview(b"small")
        assert [image[0] for image in client.stream(Studio.film, 30)] == list(range(30))
        assert client.call(Studio.develop, feed(picture(number) for number in range(30))) == list(range(30))
        assert buffers_mapped() <= 4 * 4  # of either side, each way


async def test_in_trio(studio: Service[Studio]) -> None:
    """The same, and from many tasks."""
    async with studio.serve(Photographer(), limits=SMALL_POOL), studio.connect() as client:

        async def call_often() -> None:
            for number in range(10):
                found = await client.negative(picture(number), slowly=True)
                assert digest(found) == digest(255 - picture(number))

        async def pictures() -> AsyncIterator[Bytes]:
            for number in range(30):
                yield picture(number)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(8):
                    nursery.start_soon(call_often)
            async with aclosing(client.film(30)) as film:
                assert [image[0] async for image in film] == list(range(30))
            assert await client.develop(pictures()) == list(range(30))
            assert await client.echo(picture(7).data) == picture(7).data


def test_from_many_threads(studio: Service[Studio]) -> None:
    """They share one connection, and its buffers."""
    wrong: list[object] = []
    with served(studio), studio.connect(timeout=20) as client:

        def call_often() -> None:
            try:
                for number in range(10):
                    found = client.call(Studio.negative, picture(number), slowly=True)
                    assert digest(found) == digest(255 - picture(number))
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=call_often) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_caller_that_keeps_all(studio: Service[Studio]) -> None:
    """What is kept stays as it is; an answer that finds no room comes through the socket, as far as that is allowed."""
    with served(studio), studio.connect(timeout=20) as client:
        kept = [client.call(Studio.large, 2 * MIB) for _ in range(2)]
        kept.append(client.call(Studio.large, 2 * MIB))  # through the socket: so much a client takes
        before = list(map(digest, kept))
        for number in range(10):
            client.call(Studio.echo, picture(number, 300_000).data)
        assert list(map(digest, kept)) == before
    assert list(map(digest, kept)) == before


def test_no_room_for_an_answer(studio: Service[Studio], monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told what to do, and the connection goes on."""
    monkeypatch.setattr("namedipc._client.LARGEST_MESSAGE_BYTES", MIB)
    with served(studio), studio.connect(timeout=20) as client:
        kept = [client.call(Studio.large, 2 * MIB) for _ in range(2)]
        with pytest.raises(LimitReached, match=r"Studio.large: .*the caller still looks at .* Limits\(payload_bytes"):
            client.call(Studio.large, 2 * MIB)
        del kept[0]
        assert client.call(Studio.large, 2 * MIB).nbytes == 2 * MIB
        with pytest.raises(TooLarge, match=r"the result of Studio.large: .* carries 4194304"):
            client.call(Studio.large, 5 * MIB)


def test_too_large_an_argument(studio: Service[Studio]) -> None:
    """It is refused before it leaves."""
    with served(studio), studio.connect(timeout=20) as client:
        with pytest.raises(TooLarge, match="carries 4194304"):
            client.call(Studio.echo, memoryview(bytes(5 * MIB)))
        assert client.call(Studio.echo, memoryview(b"on")).tobytes() == b"on"


async def test_cancelled_calls(studio: Service[Studio]) -> None:
    """Nothing is lost on either side, and nothing waits for the garbage collector."""
    async with studio.serve(Photographer(), limits=SMALL_POOL), studio.connect() as client:
        gc.collect()
        gc.disable()
        try:
            for number in range(60):
                with trio.move_on_after(0.0002 * number):
                    await client.negative(picture(number), slowly=True)
            with pytest.raises(RemoteError, match="1048576 bytes"):
                await client.fail(picture(1))
            with trio.fail_after(20):
                for number in range(10):
                    assert (await client.negative(picture(number)))[0] == 255 - number
        finally:
            gc.enable()


async def test_a_stream_that_is_left(studio: Service[Studio]) -> None:
    """Its items that had come are released."""
    async with studio.serve(Photographer(), limits=SMALL_POOL), studio.connect() as client:
        with trio.fail_after(20):
            for _ in range(10):
                async with aclosing(client.film(30)) as film:
                    assert (await anext(film))[0] == 0
            assert (await client.negative(picture(1)))[0] == 254


async def test_headers_and_json(studio: Service[Studio]) -> None:
    """Headers go before the arguments, wherever these have their payloads; a caller in JSON has all within."""
    async with studio.serve(Photographer(), limits=SMALL_POOL):
        connection = studio.connect()
        async with connection as client:
            marked = connection.with_options(headers={"a": "b"})
            assert (await marked.negative(picture(1)))[0] == 254
            kept = [await client.large(MIB) for _ in range(4)]
            assert (await marked.negative(picture(1, 300_000)))[0] == 254
            assert await connection.call_each(Studio.echo, [memoryview(b"a"), memoryview(bytes(300_000))]) == [
                b"a",
                bytes(300_000),
            ]
            assert len(kept) == 4
    codec = studio._schema.by_name["echo"].in_json
    assert json.loads(codec.result.encode(memoryview(bytes(300_000))))
    with pytest.raises(InvalidMessage, match="carries none"):
        codec.arguments.decode(b"[0]")


def test_another_process(studio: Service[Studio], child: Children) -> None:
    """A few buffers each way, mapped once; and what the caller holds outlives the service."""
    other = served_elsewhere(studio, child, "limits=SMALL_POOL")
    with studio.connect(timeout=20) as client:
        for number in range(50):
            found = client.call(Studio.negative, picture(number))
        assert buffers_mapped() == buffers_mapped(other.pid) <= 2 * 4
        other.kill()
        assert digest(found) == digest(255 - picture(49))


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (release(7), b"buffer 7 was released, and is not lent"),
        (pack_frame(BUFFER, id=7), b"buffer 7 was given up, which is unknown"),
        (pack_frame(CALL, pack_table(7, [(0, MIB)]), flags=PAYLOAD_FLAG, id=1), b"buffer 7, which is unknown"),
        (pack_frame(CALL, b"", flags=PAYLOAD_FLAG, id=1), b"does not say where they are"),
        (announcement(1, MIB), b"a frame says that it has 1 descriptors; 0 have come"),
    ],
)
def test_clients_that_break_the_rules(studio: Service[Studio], said: bytes, problem: bytes) -> None:
    """They are told and dropped, and the others go on."""
    hello = Hello(SERVICE, MIB, studio._schema.fingerprint, 64, 1 << 18, payload_bytes=MIB)
    with served(studio), lowlevel.unix_connect(studio.path) as bad, studio.connect(timeout=20) as good:
        bad.sendall(hello.pack() + said)
        heard = b""
        while data := bad.recv(65536):
            heard += data
        assert problem in heard
        assert good.call(Studio.negative, picture(1))[0] == 254


def test_one_buffer_each_way_is_enough(studio: Service[Studio], child: Children) -> None:
    """For one call after another: what was let go of is known before the next one looks for a place."""
    other = served_elsewhere(studio, child)
    with studio.connect(timeout=20) as client:
        for number in range(200):
            assert client.call(Studio.echo, picture(number).data)[-1] == number
        assert buffers_mapped() == buffers_mapped(other.pid) == 2

    async def main() -> None:
        async with studio.connect() as client:
            for number in range(200):
                assert (await client.echo(picture(number).data))[-1] == number
            assert buffers_mapped() == buffers_mapped(other.pid) == 2

    trio.run(main)


def test_let_go_of_while_nobody_calls(studio: Service[Studio]) -> None:
    """The next call says so before it needs the room, also one which brings no payload itself."""
    with served(studio), studio.connect(timeout=20) as client:
        for _ in range(5):
            found = client.call(Studio.large, 4 * MIB)
            assert found.nbytes == 4 * MIB
            del found

    async def main() -> None:
        async with studio.serve(Photographer(), limits=SMALL_POOL), studio.connect() as client:
            for _ in range(5):
                found = await client.large(4 * MIB)
                assert found.nbytes == 4 * MIB
                del found

    trio.run(main)


class Keeper(Protocol):
    """Keeps what it gets."""

    async def keep(self, image: Bytes) -> None: ...


def test_the_service_lets_go_while_nobody_calls(tmp_path: Path) -> None:
    """From another thread, with its loop asleep: a client which waits for room gets it."""
    kept: list[Bytes] = []

    class Hoarder:
        async def keep(self, image: Bytes) -> None:
            kept.append(image)

    keeper = Service(tmp_path / "keeper", Keeper)
    with keeper.serve(Hoarder(), limits=SMALL_POOL), keeper.connect(timeout=20) as client:
        for number in range(40):
            for _ in range(2):
                client.call(Keeper.keep, picture(number, 2 * MIB))
            timer = threading.Timer(0.001 * (number % 3), kept.clear)
            timer.start()
            client.call(Keeper.keep, picture(number, 2 * MIB))
            timer.join()
            kept.clear()


def test_a_call_that_moves_takes_its_payload_along(studio: Service[Studio], child: Children) -> None:
    """Sent to a service which had handed over, and was not run there: sent again, and whole."""
    owner = served_elsewhere(studio, child, "takeover=True")

    async def in_trio() -> None:
        nonlocal owner
        async with studio.connect() as client:
            for number in range(3):
                assert (await client.echo(picture(number).data))[-1] == number
                successor = served_elsewhere(studio, child, "takeover=True")
                assert owner.wait() == 0
                owner = successor
                assert (await client.echo(picture(number + 1).data)) == picture(number + 1).data

    with studio.connect(timeout=20) as client:
        for number in range(3):
            assert client.call(Studio.echo, picture(number).data)[-1] == number
            successor = served_elsewhere(studio, child, "takeover=True")
            assert owner.wait() == 0
            owner = successor
            assert client.call(Studio.echo, picture(number + 1).data) == picture(number + 1).data
    trio.run(in_trio)
