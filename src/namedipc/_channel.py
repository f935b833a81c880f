"""Channel and RawChannel: a name under which processes meet for whole messages, or for bytes, both ways."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from math import inf
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeAlias, TypeVar, final

from typing_extensions import TypeForm

from . import _names, lowlevel
from ._card import check_card, make_card
from ._channel_blocking import BlockingConnection, BlockingListener
from ._channel_end import joined_ends
from ._codec import Codec
from ._errors import DeclarationError, IPCError
from ._framing import Framing, declared_in
from ._name import Name
from ._opening import Opening
from ._raw_channel_blocking import BlockingRawConnection
from ._shells.connecting import Connected, Pause, connecting
from ._shells.conversation import Conversation
from ._shells.handover import Kind, claiming
from ._shells.meeting import Rules, meeting
from ._shells.message_link import MessageLink
from ._shells.reception import Reception
from ._shells.waiting import Clock, carry_out
from ._values import Allow, Limits, Peer, StrPath, same_user

if TYPE_CHECKING:
    from ._channel_trio import Connection, Listener
    from ._raw_channel_trio import RawConnection

T = TypeVar("T")
R = TypeVar("R")

if TYPE_CHECKING:
    ChannelEnd: TypeAlias = Opening[Connection[T], BlockingConnection[T]]
    """One end of a channel, not opened yet: also the type of a message's field or result that carries one."""
else:
    from ._channel_end import ChannelEnd


_KINDS: Final[Mapping[Framing, Kind]] = {
    "frames": "channel",
    "lines": 'channel with framing="lines"',
    "json-lines": 'channel with framing="json-lines"',
}
"""What the card calls a channel, and errors of the other side."""


@final
class Channel(Name, Generic[T]):
    """A path and a message type: whole typed messages both ways, a connection a peer.

    `bytes` is a message like any other; for a byte stream see `RawChannel`.

    Args:
        path: Where the two sides meet.
        message: The type of the messages; a union for several.
        framing: "frames" between programs that use namedipc; "lines" (of `str` or `bytes`) or "json-lines" (of what
            JSON can carry) where other programs are at the other end: then a message is a line (`docs/channel.md`).

    Raises:
        DeclarationError: The path cannot be a name, or the type cannot be a message; the text says what to write.
    """

    __slots__ = ("_codec", "_conversation", "_message")
    _kind: ClassVar[_names.Kind] = "socket"
    _message: object
    _codec: Codec[T]
    _conversation: Conversation[T]

    def __init__(self, path: StrPath, message: TypeForm[T], *, framing: Framing = "frames") -> None:
        super().__init__(path)
        codec: Codec[T]
        where = f"Channel({str(path)!r}, ...)"
        resolved, codec = declared_in(framing, where, path, message, sys._getframe(1))
        object.__setattr__(self, "_message", resolved)
        object.__setattr__(self, "_codec", codec)
        object.__setattr__(self, "_conversation", Conversation(str(self._path), codec, framing))

    def _arguments(self) -> tuple[object, ...]:
        return (self._message,)

    def _options(self) -> Mapping[str, object]:
        framing = self._conversation.framing
        return {} if framing == "frames" else {"framing": framing}

    def listen(
        self,
        *,
        allow: Allow = same_user,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        mode: int = 0o600,
        takeover: bool = False,
    ) -> Opening[Listener[Connection[T]], BlockingListener[BlockingConnection[T]]]:
        """Own the name while the `with` lasts, and accept connections.

        Args:
            allow: Who may connect; the same user, and root, if not given.
            limits: The bounds of connections and messages.
            mode: The permissions of the socket.
            takeover: Take the name over from its owner, if it has a living one, whose `accept` then raises `Closed`. No
                connection is refused meanwhile, and those that were accepted go on.

        Raises:
            NameTaken: The name has a living owner; with `takeover`, one that another process takes it over from.
            TimedOut: With `takeover`: the owner does not answer. It stays the owner.
            WrongKind: Something that is no socket stands there; with `takeover`, the owner serves no such channel.
            NameNotFound: The directory is missing.
            NotAllowed: The directory cannot be written to.
        """

        @asynccontextmanager
        async def trio() -> AsyncIterator[Listener[Connection[T]]]:
            from ._channel_trio import Connection, Listener
            from ._shells.trio_waiting import carry_out

            def make(socket: lowlevel.Socket, peer: Peer, closed: Callable[[], object]) -> Connection[T]:
                return Connection(self._conversation.accepted(socket, peer, limits, closed), self._codec)

            claim = await carry_out(self._claiming(mode, limits, takeover=takeover))
            refuse = self._conversation.refuse
            async with Listener(self._reception(claim, allow, limits), make, refuse) as listener:
                yield listener

        @contextmanager
        def blocking() -> Iterator[BlockingListener[BlockingConnection[T]]]:
            def make(socket: lowlevel.Socket, peer: Peer, closed: Callable[[], object]) -> BlockingConnection[T]:
                return BlockingConnection(self._conversation.accepted(socket, peer, limits, closed), self._codec)

            plan = self._claiming(mode, limits, takeover=takeover)
            claim = carry_out(plan, Clock(None), f"{self._path}: not owned")
            refuse = self._conversation.refuse
            with BlockingListener(self._reception(claim, allow, limits), make, refuse) as listener:
                yield listener

        return Opening(f"{self!r}.listen()", trio, blocking)

    def connect(
        self,
        *,
        wait_seconds: float = 0.0,
        allow: Allow = same_user,
        limits: Limits = Limits(),  # noqa: B008  # frozen
    ) -> ChannelEnd[T]:
        """Connect to whoever listens. Does not wait to be accepted: what is sent before lies ready.

        Args:
            wait_seconds: How long to wait for a name that is not there, or where nobody listens yet.
            allow: Who may be the listener; the same user, and root, if not given.
            limits: The bounds of messages.

        Raises:
            NameNotFound: Nothing stands under the name.
            NoServer: Nobody listens there.
            WrongKind: Something else stands there, or a service, or a channel with another framing.
            SchemaMismatch: The listener declares another type.
            NotAllowed: Its permissions, or `allow`, refuse it.
        """

        @asynccontextmanager
        async def trio() -> AsyncIterator[Connection[T]]:
            from ._channel_trio import Connection
            from ._shells.trio_waiting import carry_out

            self._check_card()
            connected = await carry_out(connecting(self._path, wait_seconds=wait_seconds, allow=allow))
            async with Connection(self._link_to(connected, limits), self._codec) as end:
                yield end

        @contextmanager
        def blocking() -> Iterator[BlockingConnection[T]]:
            self._check_card()
            plan = connecting(self._path, wait_seconds=wait_seconds, allow=allow)
            connected = carry_out(plan, Clock(None), f"{self._path}: not connected")
            with BlockingConnection(self._link_to(connected, limits), self._codec) as end:
                yield end

        return Opening(f"{self!r}.connect()", trio, blocking)

    def meet(
        self,
        *,
        wait_seconds: float = inf,
        allow: Allow = same_user,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        mode: int = 0o600,
    ) -> ChannelEnd[T]:
        """Meet one other process, whoever of the two comes first.

        Who comes first owns the name and waits; who comes second connects. Both go on when the pair is certain: each
        has heard the other. Then nothing stands under the name any more, so that a third and a fourth make the next
        pair. Two tasks or threads of one process can meet as well. Where somebody listens, or connects, by the verbs of
        these names, that is whom it meets.

        Args:
            wait_seconds: How long to wait for another to come; with 0 only for one who is there already. It is over
                then, but for one who is there: that one has `limits.handshake_seconds` to answer.
            allow: Whom to meet; the same user, and root, if not given. Others are turned away, and waited on.
            limits: The bounds of messages, and of the other's hello.
            mode: The permissions of the socket, while it is there.

        Raises:
            DeclarationError: The framing is one of lines, in which nobody can be told that he was taken.
            TimedOut: Nobody has come, or who listens there does not answer.
            SchemaMismatch: The other declares another type; both are told.
            WrongKind: Something else stands under the name, or a service or a raw channel.
            NotAllowed: The other's rule refuses this process, or `allow` who listens there; or nobody listens, and this
                process may not own the name: the directory's permissions, or what another user has left there.
            LimitReached: Somebody listens there who takes no more connections.
            NameNotFound: The directory is missing.

        Cancellation: nothing is left under the name. One who had just been answered finds the connection lost.
        """

        @asynccontextmanager
        async def trio() -> AsyncIterator[Connection[T]]:
            from ._channel_trio import Connection
            from ._shells.trio_waiting import carry_out

            link = await carry_out(self._meeting(Rules(wait_seconds, allow, limits, mode)))
            async with Connection(link, self._codec) as end:
                yield end

        @contextmanager
        def blocking() -> Iterator[BlockingConnection[T]]:
            plan = self._meeting(Rules(wait_seconds, allow, limits, mode))
            with BlockingConnection(carry_out(plan, Clock(None), f"{self._path}: not met"), self._codec) as end:
                yield end

        return Opening(f"{self!r}.meet()", trio, blocking)

    def pair(self) -> tuple[ChannelEnd[T], ChannelEnd[T]]:
        """Make two joined ends without a name: for a child, for a field of a message, for a test.

        Nothing stands under the path, which errors name all the same. Each end is opened once, in trio or in blocking
        code: here, in a child that was forked, or where a message took it. One that is dropped unopened is closed, with
        a ResourceWarning unless the process has forked meanwhile.

        The kernel vouches for whoever made the pair: `peer` of both ends is this process, wherever they are opened.

        Raises:
            OSError: EMFILE, no descriptor is left.

        Source: socketpair(2).
        """
        return joined_ends(f"{self!r}.pair()", self._message, self._conversation)

    # ------------------------------------------------------------ what both verbs and both worlds need

    def _check_card(self) -> int | None:
        return check_card(self._path, self._kind_on_card, self._codec.fingerprint, self._conversation.difference)

    def _card(self, limits: Limits) -> bytes:
        schema = self._conversation.schema
        return make_card(self._kind_on_card, self._codec.fingerprint, schema, message_bytes=limits.message_bytes)

    @property
    def _kind_on_card(self) -> Kind:
        return _KINDS[self._conversation.framing]

    def _claiming(self, mode: int, limits: Limits, *, takeover: bool) -> Generator[Pause, None, _names.Claim]:
        return claiming(self._path, kind=self._kind_on_card, card=self._card(limits), mode=mode, takeover=takeover)

    def _meeting(self, rules: Rules) -> Generator[Pause, None, MessageLink]:
        if self._conversation.framing != "frames":
            raise DeclarationError(
                f"{self!r}.meet(): lines have no word by which one knows that it was taken; use frames"
            )
        return meeting(self._path, self._conversation, card=self._card(rules.limits), rules=rules)

    def _link_to(self, connected: Connected, limits: Limits) -> MessageLink:
        message_bytes = _close_unless(self._check_card, connected.socket)
        return self._conversation.connected(connected.socket, connected.peer, limits, message_bytes=message_bytes)

    def _reception(self, claim: _names.Claim, allow: Allow, limits: Limits) -> Reception:
        return Reception(claim, allow, limits, carries_attachments=self._codec.carries_attachments)


@final
class RawChannel(Name):
    """A path: a byte stream both ways, as `nc -U` and a C program with read and write see it.

    Args:
        path: Where the two sides meet.

    Raises:
        DeclarationError: The path cannot be a name.
    """

    __slots__ = ()
    _kind: ClassVar[_names.Kind] = "socket"

    def listen(
        self,
        *,
        allow: Allow = same_user,
        limits: Limits = Limits(),  # noqa: B008  # frozen
        mode: int = 0o600,
        takeover: bool = False,
    ) -> Opening[Listener[RawConnection], BlockingListener[BlockingRawConnection]]:
        """Own the name while the `with` lasts, and accept connections. See `Channel.listen`."""

        @asynccontextmanager
        async def trio() -> AsyncIterator[Listener[RawConnection]]:
            from ._channel_trio import Listener
            from ._raw_channel_trio import RawConnection
            from ._shells.trio_waiting import carry_out

            def make(socket: lowlevel.Socket, peer: Peer, closed: Callable[[], object]) -> RawConnection:
                return RawConnection(socket, peer, str(self._path), closed)

            reception = Reception(await carry_out(self._claiming(mode, takeover=takeover)), allow, limits)
            async with Listener(reception, make, _refuse_silently) as listener:
                yield listener

        @contextmanager
        def blocking() -> Iterator[BlockingListener[BlockingRawConnection]]:
            def make(socket: lowlevel.Socket, peer: Peer, closed: Callable[[], object]) -> BlockingRawConnection:
                return BlockingRawConnection(socket, peer, str(self._path), closed)

            plan = self._claiming(mode, takeover=takeover)
            reception = Reception(carry_out(plan, Clock(None), f"{self._path}: not owned"), allow, limits)
            with BlockingListener(reception, make, _refuse_silently) as listener:
                yield listener

        return Opening(f"{self!r}.listen()", trio, blocking)

    def connect(
        self, *, wait_seconds: float = 0.0, allow: Allow = same_user
    ) -> Opening[RawConnection, BlockingRawConnection]:
        """Connect to whoever listens. See `Channel.connect`."""

        @asynccontextmanager
        async def trio() -> AsyncIterator[RawConnection]:
            from ._raw_channel_trio import RawConnection
            from ._shells.trio_waiting import carry_out

            self._check_card()
            connected = await carry_out(connecting(self._path, wait_seconds=wait_seconds, allow=allow))
            _close_unless(self._check_card, connected.socket)
            async with RawConnection(connected.socket, connected.peer, str(self._path), None) as end:
                yield end

        @contextmanager
        def blocking() -> Iterator[BlockingRawConnection]:
            self._check_card()
            plan = connecting(self._path, wait_seconds=wait_seconds, allow=allow)
            connected = carry_out(plan, Clock(None), f"{self._path}: not connected")
            _close_unless(self._check_card, connected.socket)
            with BlockingRawConnection(connected.socket, connected.peer, str(self._path), None) as end:
                yield end

        return Opening(f"{self!r}.connect()", trio, blocking)

    def _check_card(self) -> None:
        check_card(self._path, "raw channel")

    def _claiming(self, mode: int, *, takeover: bool) -> Generator[Pause, None, _names.Claim]:
        return claiming(self._path, kind="raw channel", card=make_card("raw channel"), mode=mode, takeover=takeover)


def _refuse_silently(socket: lowlevel.Socket, error: IPCError) -> None:
    """A byte stream has no words for it: the peer sees the end."""


def _close_unless(check: Callable[[], R], socket: lowlevel.Socket) -> R:
    """Look at the card again: the name may have appeared, or changed hands, while this side was waiting for it."""
    try:
        return check()
    except BaseException:
        socket.close()
        raise
