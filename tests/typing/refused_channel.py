"""Channel and RawChannel: what both checkers refuse. Never imported."""

from __future__ import annotations

from namedipc import Channel, ChannelEnd, Fd, Limits, RawConnection

from .names import COUNTER, WIRE, Letter

Channel("x", Letter("ann"))  # type: ignore[arg-type]
Channel("x", 5)  # type: ignore[arg-type]
Channel(Letter, "x")  # type: ignore[arg-type]
Channel(b"x", Letter)  # type: ignore[arg-type]
Limits(payload_bytes="1 GiB")  # type: ignore[arg-type]
Channel("x")  # type: ignore[call-arg]
Channel("x", str, framing="json")  # type: ignore[arg-type]
Channel("x", str, "lines")  # type: ignore[call-arg]


async def talk_raw(connection: RawConnection) -> None:
    """A handler of another kind of connection."""


async def talking() -> None:
    """Wrong messages, a wrong handler, and a forgotten `async with`."""
    async with COUNTER.listen() as listener:
        await listener.serve(talk_raw)  # type: ignore[arg-type]
    async with COUNTER.connect() as connection:
        await connection.send(5)  # type: ignore[arg-type]
        connection.send_nowait(None)  # type: ignore[arg-type]
    await COUNTER.connect().send("x")  # type: ignore[attr-defined]
    await COUNTER.connect()  # type: ignore[misc]
    async with WIRE.connect() as raw:
        await raw.send("x")  # type: ignore[attr-defined]
        await raw.send_all("x")  # type: ignore[arg-type]


def talking_in_blocking_code() -> None:
    """The same in blocking code."""
    with COUNTER.connect() as connection:
        connection.send(5)  # type: ignore[arg-type]
        connection.send("x", 5)  # type: ignore[call-arg]
    with COUNTER.listen() as listener, listener.accept() as accepted:
        accepted.send(5)  # type: ignore[arg-type]
    with WIRE.connect() as raw:
        raw.send_all("x")  # type: ignore[arg-type]


async def mixed_up() -> None:
    """The blocking listener's connections are blocking."""
    with COUNTER.listen() as listener:
        async with listener.accept():  # type: ignore[attr-defined]
            pass


async def meeting() -> None:
    """A time without its name, a takeover, and a forgotten `async with`."""
    COUNTER.meet(5)  # type: ignore[call-arg]
    COUNTER.meet(takeover=True)  # type: ignore[call-arg]
    await COUNTER.meet().send("x")  # type: ignore[attr-defined]
    WIRE.meet()  # type: ignore[attr-defined]


async def joined() -> None:
    """An end for other messages, one that is not opened, and a descriptor that is a number."""
    mine, _theirs = COUNTER.pair()
    other: ChannelEnd[int] = mine  # type: ignore[assignment]
    await mine.receive()  # type: ignore[attr-defined]
    COUNTER.pair(1)  # type: ignore[call-arg]
    async with other as connection, Channel("x", Fd).connect() as files:
        await connection.send("x")  # type: ignore[arg-type]
        await files.send(3)  # type: ignore[arg-type]
